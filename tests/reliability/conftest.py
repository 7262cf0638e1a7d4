"""The fixtures of the integration tests, for the tests that inject faults."""

from tests.integration.conftest import instance, pipeline_of, upstream

__all__ = ["instance", "pipeline_of", "upstream"]
