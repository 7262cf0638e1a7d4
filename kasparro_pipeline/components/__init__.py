"""The components that a `defs.yaml` may name, and what turns them into Dagster definitions."""

from kasparro_pipeline.components.csv_source import CsvSource
from kasparro_pipeline.components.feed_source import FeedSource
from kasparro_pipeline.components.rest_source import RestSource

__all__ = ["CsvSource", "FeedSource", "RestSource"]
