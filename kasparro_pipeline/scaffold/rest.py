"""A REST source made from a page or two of its API: records, paginator, key, contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import Any

from kasparro_pipeline.contract.spec import COLUMN_TYPES, RESERVED_NAMES
from kasparro_pipeline.extract import json_records
from kasparro_pipeline.extract.errors import UpstreamError
from kasparro_pipeline.extract.http_answer import RateLimitedError, Response
from kasparro_pipeline.scaffold import filters, rest_text, sampling
from kasparro_pipeline.scaffold.contract import Inferred, infer
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.keys import Key, find_key, key_values
from kasparro_pipeline.scaffold.paginators import Candidate, Signs, candidates
from kasparro_pipeline.scaffold.params import RestParams
from kasparro_pipeline.scaffold.record_lists import RecordList, empty_lists, record_lists
from kasparro_pipeline.scaffold.rest_upstream import RestUpstream

TYPE = "kasparro_pipeline.components.RestSource"
MAX_TRIED = 14
"""Paginators that are tried; each costs one request or two."""
REPEATED = "page 2 held the same records"
TOTAL_PATHS = {"total_path", "total_pages_path", "has_more_path"}
WRAPPERS = ("value", "attributes", "properties", "fields", "_source", "node")
"""Objects in which records hold their content: members of an object, JSON:API, GeoJSON, search engines."""
SAME = 0.5
"""Share of the keys of two pages that may be the same, of pages of a list that moves meanwhile."""


@dataclass(frozen=True, slots=True)
class _Paging:
    """How the list goes on, and what was seen of it."""

    spec: Mapping[str, Any]
    why: str
    params: Mapping[str, Any]
    """The source's own query parameters: without those that the paginator sends."""
    second: Sequence[object] = ()
    """Records of the second page."""


@dataclass(frozen=True, slots=True)
class _First:
    """The first answer, cut into its records."""

    response: Response
    chosen: RecordList
    others: Sequence[RecordList]
    records: list[object]
    around: object


def make(params: RestParams, name: str, kind: str, secrets: Mapping[str, str], today: date) -> str:
    """The text of the source's `defs.yaml`.

    Raises:
        ScaffoldError: the API gives no sample, or none that a source can be made from.
    """
    upstream = RestUpstream(params, secrets)
    if not params.sample:
        return rest_text.skeleton(params, upstream, name, kind, today)
    with sampling.asking("`url`, `params`, `headers` or `auth`"):
        first = _first(upstream.answer(), params)
    paging = _paging(upstream, first, kind)
    records = [*first.records, *paging.second]
    key = sampling.key_of(params.key, _different(records), kind, f"{params.url}")
    wrapper = _wrapper(records)
    inferred = infer(kind, key.paths, records, text_only=False, below=wrapper)
    if wrapper:
        _shorten_names(inferred, wrapper)
    cursor = filters.cursor_of(inferred)
    asked_for = cursor and filters.incremental(upstream, first.chosen.path, first.records, cursor)
    text = rest_text.begin(
        name,
        f"{len(records)} records in {'2 answers' if paging.second else '1 answer'} of the API",
        upstream,
        paging.params,
    )
    rest_text.where(text, params)
    if first.chosen.path or first.others:
        rest_text.records(text, first.chosen, first.others, len(first.records))
    text.comment(f"How the list goes on: {paging.why}.")
    text.key("paginator", paging.spec)
    rest_text.news(text, cursor, asked_for)
    rest_text.when(text, today)
    text.gap()
    text.key("kind", kind)
    text.key("key", key.paths[0] if len(key.paths) == 1 else list(key.paths), sampling.seen_of(key))
    text.contract(inferred)
    found = text.text()
    if upstream.proof().hide(found) != found:
        raise ScaffoldError(
            "The answer repeats a secret of `auth`, so nothing is written. Use `sample: false`."
        )
    return found


def _first(response: Response, params: RestParams) -> _First:
    body = response.body or b""
    mark, encoding = json_records.mark_and_encoding(body)
    try:
        whole = json_records.read(body[len(mark) :], {"encoding": encoding})
    except (ValueError, RecursionError) as error:
        shown = body[:80].decode("utf-8", "replace")
        raise ScaffoldError(
            f"The answer of {response.url} is not JSON ({error}); it begins with {shown!r}. Give the address"
            f" of the API itself, not of a page about it. {sampling.INSTEAD}"
        ) from error
    found = record_lists(whole)
    if params.records is not None:
        found = [RecordList(params.records, 0), *(one for one in found if one.path != params.records)]
    if not found:
        empty = ", ".join(f"`{path or '(root)'}`" for path in empty_lists(whole))
        said = f"the list at {empty} is empty" if empty else "there is no list of objects in it"
        raise ScaffoldError(
            f"The answer of {response.url} holds no records: {said}. Ask for something that has records"
            f" (`url`, `params`), or say where they are in `records`. {sampling.INSTEAD}"
        )
    cut = json_records.cut(body, found[0].path, response.url)
    if not cut.records:
        raise ScaffoldError(
            f"The answer of {response.url} holds no records at `{found[0].path or '(root)'}`. Ask for"
            f" something that has some, or correct `records`. {sampling.INSTEAD}"
        )
    return _First(response, found[0], found[1:], [one.value for one in cut.records], cut.around())


def _paging(upstream: RestUpstream, first: _First, kind: str) -> _Paging:
    """The paginator whose second page holds other records; else a single page."""
    key = find_key(first.records, kind)
    id_path = key.paths[0] if key is not None and len(key.paths) == 1 else None
    params = {name: str(value) for name, value in upstream.query.items()}
    signs = Signs(first.response.headers, first.around, len(first.records), params, id_path)
    tried: dict[str, list[str]] = {}
    for candidate in islice(candidates(signs), MAX_TRIED):
        try:
            found = _try(upstream, first, key, candidate)
        except RateLimitedError as error:
            tried[f"{error.message[:80]}, so nothing more was asked"] = [_named(candidate)]
            break
        if isinstance(found, _Paging):
            return found
        tried.setdefault(found, []).append(_named(candidate))
    why = "all of it comes in one answer"
    if tried:
        told = "; ".join(f"{', '.join(names)}: {said}" for said, names in tried.items())
        why = f"no second page was found. Tried {told}. docs/sources-rest.md has the other ways"
    return _Paging({"type": "single_page"}, why, upstream.query)


def _try(upstream: RestUpstream, first: _First, key: Key | None, candidate: Candidate) -> _Paging | str:
    """The paging by a candidate, or why it is not that."""
    params = {name: value for name, value in upstream.query.items() if name not in candidate.replaces}
    try:
        pages = upstream.pages(first.chosen.path, candidate.spec, params, 2)
    except RateLimitedError:
        raise
    except UpstreamError as error:
        return REPEATED if "holds the same" in error.message else error.message[:80]
    one, before = _keys(pages[0], key), _keys(first.records, key)
    if len(one & before) < SAME * len(before):
        return "the first page holds other records than the address gave"
    paging = _Paging(candidate.spec, candidate.why, params, pages[-1] if len(pages) > 1 else ())
    if len(pages) > 1:
        return _with_second(paging, one, _keys(pages[1], key), candidate)
    if candidate.is_certain:
        return paging
    bare = replace(candidate, spec=_without_totals(candidate.spec))
    if bare.spec == candidate.spec:
        return "no second page"
    found = _try(upstream, first, key, bare)
    # what the answer says of the whole list is right only if no other page has records
    return found if isinstance(found, str) or found.second else replace(found, spec=candidate.spec)


def _with_second(paging: _Paging, one: set[str], two: set[str], candidate: Candidate) -> _Paging | str:
    """The paging, if the second page holds other records, or none: then the upstream knows the parameter."""
    if len(two & one) > SAME * len(two):
        return REPEATED
    seen = f"page 2 held {len(two - one)} other records, asked for by {_named(candidate)}"
    if not two:
        seen = "page 2 came without records, so this is all of the list now"
    return replace(paging, why=f"{paging.why}; {seen}")


def _without_totals(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in TOTAL_PATHS}


def _keys(records: Sequence[object], key: Key | None) -> set[str]:
    return key_values(records, key.paths) if key else set(map(repr, records))


def _named(candidate: Candidate) -> str:
    given = {name: value for name, value in candidate.spec.items() if name != "type" and value is not None}
    return " ".join([str(candidate.spec["type"]), *(f"{name}={value}" for name, value in given.items())])


def _different(records: Sequence[object]) -> list[object]:
    """The records without those that are the same to the last value: pages may overlap."""
    return list({repr(record): record for record in records}.values())


def _wrapper(records: Sequence[object]) -> str:
    """Where records hold their content, as a path with a dot at its end; empty: they do themselves."""
    for name in WRAPPERS:
        if all(isinstance(record, dict) and isinstance(record.get(name), dict) for record in records):
            return f"{name}."
    return ""


def _shorten_names(inferred: Inferred, wrapper: str) -> None:
    """What is in a wrapper needs no `value_` before its name."""
    fields: dict[str, dict[str, Any]] = {}
    for name, spec in inferred.fields.items():
        short = name.removeprefix(f"{wrapper.strip('_.')}_")
        can = short.isidentifier() and short not in RESERVED_NAMES | inferred.fields.keys() | fields.keys()
        fits = COLUMN_TYPES.get(short, spec.get("type", "string")) == spec.get("type", "string")
        better = short if can and fits and spec.get("path", "").startswith(wrapper) else name
        fields[better] = spec
        inferred.seen[better] = inferred.seen[name]
    inferred.fields = fields
