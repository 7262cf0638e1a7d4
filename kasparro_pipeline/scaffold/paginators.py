"""Which paginators an answer gives reason to try, the surest first. Asks nothing; `rest` tries them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kasparro_pipeline.extract.linked_pages import links

PAGE_PARAMS = (
    "page",
    "p",
    "page_number",
    "pageNumber",
    "pageNo",
    "page_no",
    "pageIndex",
    "page[number]",
    "_page",
)
OFFSET_PARAMS = ("offset", "skip", "start", "startIndex", "page[offset]", "_start")
LIMIT_PARAMS = (
    "limit", "per_page", "page_size", "pageSize", "perPage", "size", "take", "count", "rows", "page[size]",
    "page[limit]", "max_results", "maxResults", "_limit",
)  # fmt: skip
CURSOR_PARAMS = ("cursor", "after", "page_token", "pageToken", "starting_after", "next", "continuation")
TOTALS = {
    "total",
    "totalcount",
    "totalresults",
    "totalrecords",
    "totalitems",
    "totalelements",
    "numfound",
    "count",
}
TOTAL_PAGES = {"totalpages", "pages", "pagecount", "lastpage", "numpages", "nbpages"}
HAS_MORE = {"hasmore", "hasnext", "hasnextpage", "more"}
NEXT_URLS = {"next", "nexturl", "nextpageurl", "nextpage", "nextlink", "odatanextlink"}
CURSORS = {
    "next", "nextcursor", "cursor", "nextpagetoken", "nexttoken", "continuationtoken", "continuation",
    "endcursor", "after", "nextkey", "nextpage",
}  # fmt: skip
MAX_DEPTH = 4
FEWEST = 2
"""Records of an answer from which on a second page is looked for without any sign of one."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What an answer says beside its records."""

    headers: Mapping[str, str]
    around: object
    """The body without its records."""
    count: int
    params: Mapping[str, str]
    """The query that it was asked with."""
    id_path: str | None
    """Path of the records' key, if it is one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A paginator that may be right."""

    spec: Mapping[str, Any]
    why: str
    replaces: tuple[str, ...] = ()
    """Query parameters that the paginator sends itself."""
    is_certain: bool = False
    """Whether it is taken though there is no second page to see: the upstream itself says that it is over."""


@dataclass(slots=True)
class _Told:
    """What the members beside the records say, by path."""

    urls: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cursors: list[tuple[str, str]] = field(default_factory=list)
    no_cursor: list[tuple[str, str]] = field(default_factory=list)
    total: str | None = None
    total_pages: str | None = None
    more: str | None = None
    is_more: bool | None = None


def candidates(signs: Signs) -> Iterator[Candidate]:
    """The paginators to try, in order."""
    told = _told(signs)
    if "next" in links(signs.headers.get("link", "")):
        yield Candidate({"type": "link_header"}, "the header Link names the next page")
    for path in told.urls:
        yield Candidate({"type": "next_url", "next_path": path}, f"`{path}` is the address of the next page")
    more = {"has_more_path": told.more} if told.more else {}
    for path, name in told.cursors:
        for param in _cursor_params(name, signs.params):
            spec = {"type": "cursor", "cursor_param": param, "cursor_path": path} | more
            yield Candidate(spec, f"`{path}` is the cursor of the next page", (param,))
    yield from _counted(signs, told)
    if told.is_more and signs.id_path is not None:
        for param in ("starting_after", "after", "after_id"):
            spec = {"type": "cursor", "cursor_param": param, "record_path": signs.id_path} | more
            yield Candidate(spec, f"`{told.more}` says that there is more", (param,))
    for path in told.ended:
        spec = {"type": "next_url", "next_path": path}
        yield Candidate(spec, f"`{path}` is null: this is all of the list", is_certain=True)
    for path, name in told.no_cursor:
        [param, *_] = _cursor_params(name, signs.params)
        spec = {"type": "cursor", "cursor_param": param, "cursor_path": path} | more
        why = f"`{path}` is null: this is all of the list. `{param}` is a guess, for a second page to test"
        yield Candidate(spec, why, (param,), is_certain=True)


def _counted(signs: Signs, told: _Told) -> Iterator[Candidate]:
    more = {"total_path": told.total} if told.total else {"has_more_path": told.more} if told.more else {}
    why = f"`{told.total or told.more}` tells how many there are" if more else "the answer names no next page"
    pages = {"total_pages_path": told.total_pages} if told.total_pages else more
    counted = {name: int(value) for name, value in signs.params.items() if value.isdecimal()}
    for param in (name for name in PAGE_PARAMS if name in counted):
        spec = _page(param, counted[param]) | pages
        yield Candidate(spec, f"`{param}` is in the address", (param,))
    sized = next((name for name in LIMIT_PARAMS if counted.get(name)), None)
    limit = {"limit": counted[sized], "limit_param": sized} if sized else {}
    replaced = (sized,) if sized else ()
    limit = limit or {"limit": max(signs.count, 1), "limit_param": None}
    for param in (name for name in OFFSET_PARAMS if name in counted):
        spec = _offset(param) | limit | more
        yield Candidate(spec, f"`{param}` is in the address", (param, *replaced))
    if told.ended or told.no_cursor or signs.count < FEWEST:
        return
    names = _names(signs.around)
    for param in ("page", "p", "_page"):
        if param == "page" or param in names:
            for first in (1, 0):
                yield Candidate(_page(param, first) | pages, why, (param,))
    for param in ("offset", "skip", "start", "_start"):
        if param in {"offset", "skip"} or param in names:
            yield Candidate(_offset(param) | limit | more, why, (param, *replaced))


def _page(param: str, first: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "page_number"}
    found |= {"page_param": param} if param != "page" else {}
    return found | ({"first_page": first} if first != 1 else {})


def _offset(param: str) -> dict[str, Any]:
    return {"type": "offset"} | ({"offset_param": param} if param != "offset" else {})


def _cursor_params(name: str, params: Mapping[str, str]) -> list[str]:
    """What the parameter of a cursor may be called: like the cursor itself without its `next`."""
    own = name
    for before in ("next_", "next", "end_", "end"):
        if name.lower().startswith(before) and len(name) > len(before):
            own = name[len(before) :]
            own = own[0].lower() + own[1:]
            break
    return list(dict.fromkeys([*(one for one in CURSOR_PARAMS if one in params), own, *CURSOR_PARAMS[:4]]))


def _told(signs: Signs) -> _Told:
    told = _Told()
    for path, value in _leaves(signs.around, ""):
        name = path.rpartition(".")[2]
        plain = "".join(filter(str.isalnum, name)).lower()
        above = path.lower().split(".")[:-1]
        is_next = plain in NEXT_URLS or (above[-1:] == ["next"] and plain in {"href", "url"})
        if is_next and isinstance(value, str) and value.startswith(("http://", "https://", "/", "?")):
            told.urls.append(path)
        elif is_next and value is None:
            told.ended.append(path)
        elif plain in CURSORS and value is None:
            told.no_cursor.append((path, name))
        elif plain in CURSORS and isinstance(value, str | int) and value and not isinstance(value, bool):
            told.cursors.append((path, name))
        elif plain in HAS_MORE and isinstance(value, bool):
            told.more, told.is_more = path, value
        elif isinstance(value, int) and not isinstance(value, bool):
            _count(told, path, plain, value, signs.count)
    return told


def _count(told: _Told, path: str, plain: str, value: int, count: int) -> None:
    if plain in TOTALS and value >= count and told.total is None:
        # a `count` of what is in the answer says nothing of the list
        if plain != "count" or value > count:
            told.total = path
    elif plain in TOTAL_PAGES and value > 0 and told.total_pages is None:
        told.total_pages = path


def _leaves(value: object, path: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and depth < MAX_DEPTH:
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}" if path else name, depth + 1)
    elif path:
        yield path, value


def _names(around: object) -> set[str]:
    return {path.rpartition(".")[2] for path, _ in _leaves(around, "")}
