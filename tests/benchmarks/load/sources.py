"""Our sources, as a user would write them in a `defs.yaml`. No key is there for the benchmark alone."""

import json
from pathlib import Path
from typing import Any

from kasparro_pipeline.components.rest_source import RestSourceSpec

NAME = "articles"
CONTRACT: dict[str, Any] = {
    "kind": "article",
    "key": "id",
    "fields": {
        "title": {"required": True},
        "summary": {},
        "url": {},
        "category": {},
        "author": {},
        "amount": {"path": "price"},
        "published_at": {"required": True},
    },
}
LARGEST_PAGE_COUNT = 100_000
SIDE_BY_SIDE = 8
"""Pages that are fetched at the same time; the bare fetch does as many."""


def csv_source(folder: Path) -> dict[str, Any]:
    """The files of a folder."""
    return {**CONTRACT, "files": f"{folder}/*.csv"}


def rest_source(base_url: str, page_size: int) -> dict[str, Any]:
    """The API: numbered pages, fetched side by side where the component can."""
    paginator = {"type": "page_number", "max_pages": LARGEST_PAGE_COUNT}
    if _knows("total_pages_path"):
        paginator["total_pages_path"] = "pages"
    found = {
        **CONTRACT,
        "base_url": base_url,
        "path": "/items",
        "params": {"per_page": page_size},
        "records": "data",
        "paginator": paginator,
    }
    if _knows("incremental"):
        found["incremental"] = {"cursor": "updated_at", "param": "since"}
    if "concurrency" in RestSourceSpec.model_fields:
        found["concurrency"] = SIDE_BY_SIDE
    elif _knows("concurrency"):
        found["http"] = {"concurrency": SIDE_BY_SIDE}
    return found


def _knows(key: str) -> bool:
    """Whether the component takes a key, wherever it stands."""
    return f'"{key}"' in json.dumps(RestSourceSpec.model_json_schema())


def feed_source(url: str) -> dict[str, Any]:
    """The feed."""
    fields = {
        "title": {"required": True},
        "summary": {},
        "url": {"path": "link"},
        "published_at": {"path": "published"},
    }
    return {"url": url, "kind": "article", "key": "id", "fields": fields}
