"""Links from Dagster's pages to what the read API shows of the same (P8)."""

from urllib.parse import urlencode

import dagster as dg

from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.components.source import Layer
from kasparro_pipeline.warehouse.ledger import Connection, Hold


def links_to_api(connection: Connection, layer: Layer, hold: Hold) -> dict[str, dg.UrlMetadataValue]:
    """Where the API shows what a step left, if its address is known; the records as they are now."""
    address = PipelineSettings().api_url
    if address is None:
        return {}
    address = address.rstrip("/")
    links = {"run in the API": dg.MetadataValue.url(f"{address}/runs/{hold.run_id}")}
    if layer == "unified":
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None  # noqa: S101 - the statement selects one row
        # As of now: a later run that changes a record takes its own id
        now = row[0].isoformat()
        query = urlencode({"source": hold.source, "run_id": hold.run_id, "deleted": "include", "as_of": now})
        links["records in the API"] = dg.MetadataValue.url(f"{address}/data?{query}")
    return links
