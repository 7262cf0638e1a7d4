"""The measured process of dlt 1.31: the same load, as its documents show it, or tuned. Runs in `.venv-peers`.

It loads with `merge` on the primary key, like ours. It has no contract here: an empty title is accepted, and
a bad date changes the column's type or goes to a second column.
"""

import csv
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.load import worker

DATASET, TABLE = "bench", "articles"
ROWS_AT_ONCE = 5000
"""Dicts that a resource hands over together."""


def main() -> None:
    """Load one file, or one API."""
    order = worker.order()
    if order["mode"] == "tuned":
        for name in ("DATA_WRITER", "NORMALIZE__DATA_WRITER"):
            os.environ[f"{name}__DISABLE_COMPRESSION"] = "true"
    import dlt  # noqa: PLC0415 - it reads the environment above

    pipeline = dlt.pipeline(
        pipeline_name=order["database"],
        pipelines_dir=order["folder"],
        destination=dlt.destinations.postgres(order["url"]),
        dataset_name=DATASET,
    )
    resource = _api(order) if order["mode"] == "rest" else _file(order)
    file_format: Any = "csv" if order["mode"] == "tuned" else None
    with worker.timed() as figures:
        pipeline.run(resource, loader_file_format=file_format)
    with pipeline.sql_client() as client:
        [[count]] = client.execute_sql(f"select count(*) from {TABLE}") or [[0]]
    worker.tell({**figures, "table_rows": count})


def _file(order: dict[str, Any]) -> Any:
    import dlt  # noqa: PLC0415
    from dlt.sources.filesystem import filesystem, read_csv_duckdb  # noqa: PLC0415

    path = Path(order["file"])
    if order["mode"] == "dict":
        return dlt.resource(_dicts(path), name=TABLE, primary_key="id", write_disposition="merge")
    listed = filesystem(bucket_url=str(path.parent), file_glob=path.name)
    resource = (listed | read_csv_duckdb(chunk_size=50_000, use_pyarrow=True)).with_name(TABLE)
    resource.apply_hints(primary_key="id", write_disposition="merge")
    return resource


def _dicts(path: Path) -> Iterator[list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        while some := list(islice(reader, ROWS_AT_ONCE)):
            yield some


def _api(order: dict[str, Any]) -> Any:
    from dlt.sources.rest_api import rest_api_source  # noqa: PLC0415

    since = {"type": "incremental", "cursor_path": "updated_at", "initial_value": "2000-01-01T00:00:00Z"}
    return rest_api_source(
        {
            "client": {
                "base_url": order["address"],
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": "page",
                    "total_path": "pages",
                },
            },
            "resources": [
                {
                    "name": TABLE,
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {
                        "path": "items",
                        "data_selector": "data",
                        "params": {"per_page": order["page_size"], "since": since},
                    },
                }
            ],
        }
    )


if __name__ == "__main__":
    main()
