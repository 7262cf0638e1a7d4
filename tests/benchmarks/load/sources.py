"""Our sources, as a user would write them in a `defs.yaml`. No key is there for the benchmark alone."""

from pathlib import Path
from typing import Any

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
HERE = {"allow_private_hosts": ["127.0.0.1"]}
"""The API and the feed are on this machine."""
LARGEST_PAGE_COUNT = 100_000
SIDE_BY_SIDE = 8
"""Pages that are fetched at the same time; the bare fetch does as many."""


def csv_source(folder: Path) -> dict[str, Any]:
    """The files of a folder."""
    return {**CONTRACT, "files": f"{folder}/*.csv"}


def rest_source(base_url: str, page_size: int) -> dict[str, Any]:
    """The API: numbered pages, fetched side by side where the component can."""
    paginator = {"type": "page_number", "max_pages": LARGEST_PAGE_COUNT, "total_pages_path": "pages"}
    return {
        **CONTRACT,
        "base_url": base_url,
        "path": "/items",
        "params": {"per_page": page_size},
        "records": "data",
        "paginator": paginator,
        "incremental": {"cursor": "updated_at", "param": "since"},
        "http": {"concurrency": SIDE_BY_SIDE, **HERE},
    }


def feed_source(url: str) -> dict[str, Any]:
    """The feed."""
    fields = {
        "title": {"required": True},
        "summary": {},
        "url": {"path": "link"},
        "published_at": {"path": "published"},
    }
    ignore = ["id_rule", "summary_text"]
    return {"url": url, "http": HERE, "kind": "article", "key": "id", "fields": fields, "ignore": ignore}
