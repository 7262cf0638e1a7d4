"""The JSON test suite, the naughty strings and the recorded answers, from an HTTP server to unified.

What another test does with a corpus is not repeated: the recorded lists are in `test_promises`.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg
import pytest

from kasparro_pipeline.components import RestSource
from kasparro_pipeline.components.resources import Warehouse
from tests.conftest import corpus
from tests.integration.conftest import Pipeline, today

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Run, Upstream

    Built = Callable[..., Pipeline]
    Sources = Callable[[dict[str, dict[str, Any]]], Pipeline]

VALUE: dict[str, Any] = {"kind": "value", "key": "id", "fields": {"value": {"type": "json"}}}
"""The contract of a record `{"id": …, "value": …}`."""


def wrapped(path: Path) -> bytes:
    """The record that a file of the suite is served in."""
    return b'{"id": "%s", "value": %s}' % (path.name.encode(), path.read_bytes())


def suite(*letters: str) -> list[Path]:
    found = sorted(corpus("json/jsontestsuite").glob("*.json"))
    return [path for path in found if path.name[0] in letters]


def require_balance(run: Run) -> None:
    """P2: every raw record has exactly one outcome, and the counts say so."""
    read, validated, rejected, superseded = run.counts("read", "validated", "rejected", "superseded")
    assert read == validated + rejected + superseded


def raw(pipeline: Pipeline) -> list[bytes]:
    return [
        bytes(row["payload"]) for row in pipeline.rows("select payload from kasparro.raw_record order by id")
    ]


REFUSED = {
    "i_string_UTF-16LE_with_BOM.json",
    "i_string_UTF-8_invalid_sequence.json",
    "i_string_UTF8_surrogate_U+D800.json",
    "i_string_invalid_utf-8.json",
    "i_string_iso_latin_1.json",
    "i_string_lone_utf8_continuation_byte.json",
    "i_string_not_in_unicode_range.json",
    "i_string_overlong_sequence_2_bytes.json",
    "i_string_overlong_sequence_6_bytes.json",
    "i_string_overlong_sequence_6_bytes_null.json",
    "i_string_truncated-utf-8.json",
    "i_string_utf16BE_no_BOM.json",
    "i_string_utf16LE_no_BOM.json",
    "i_structure_UTF-8_BOM_empty_object.json",
}
"""Files that RFC 8259 leaves open, and that are no proper text inside a UTF-8 document: it is refused."""
REJECTED = {
    "i_number_huge_exp.json": "number_not_finite",
    "i_number_neg_int_huge_exp.json": "number_out_of_range",
    "i_number_pos_double_huge_exp.json": "number_out_of_range",
    "i_number_real_neg_overflow.json": "number_out_of_range",
    "i_number_real_pos_overflow.json": "number_out_of_range",
    "i_number_real_underflow.json": "number_out_of_range",
    "i_object_key_lone_2nd_surrogate.json": "lone_surrogate",
    "i_string_1st_surrogate_but_2nd_missing.json": "lone_surrogate",
    "i_string_1st_valid_surrogate_2nd_invalid.json": "lone_surrogate",
    "i_string_incomplete_surrogate_and_escape_valid.json": "lone_surrogate",
    "i_string_incomplete_surrogate_pair.json": "lone_surrogate",
    "i_string_incomplete_surrogates_escape_valid.json": "lone_surrogate",
    "i_string_invalid_lonely_surrogate.json": "lone_surrogate",
    "i_string_invalid_surrogate.json": "lone_surrogate",
    "i_string_inverted_surrogates_U+1D11E.json": "lone_surrogate",
    "i_string_lone_second_surrogate.json": "lone_surrogate",
    "i_structure_500_nested_arrays.json": "json_too_deep",
    "y_object_escaped_null_in_key.json": "nul_character",
    "y_string_null_escape.json": "nul_character",
}
"""Files that are JSON, and hold what a contract's limits do not take: by its rule the record is rejected. The
other files that RFC 8259 leaves open are validated: whole numbers of more than 64 bits."""


@pytest.fixture
def sources(
    upstream: Upstream, instance: dg.DagsterInstance, warehouse: Any, database_url: str
) -> Callable[[dict[str, dict[str, Any]]], Pipeline]:
    """Several sources by name, each a job, and the job `all`, which runs them in one run."""

    def build(attributes: dict[str, dict[str, Any]]) -> Pipeline:
        definitions = []
        for name, own in attributes.items():
            http = {"attempts": 1, "allow_private_hosts": ["127.0.0.1"]}
            spec = RestSource.spec_class.model_validate({"base_url": upstream.address, "http": http} | own)
            definitions.append(RestSource(spec).definitions(name))
        everything = dg.Definitions(
            resources={"warehouse": Warehouse(database_url=database_url)},
            executor=dg.in_process_executor,
            jobs=[dg.define_asset_job("all", dg.AssetSelection.all())],
        )
        return Pipeline(dg.Definitions.merge(*definitions, everything), instance, warehouse)

    return build


def test_p9_every_document_of_the_json_test_suite_that_is_no_json_is_refused_with_its_place(
    upstream: Upstream, instance: dg.DagsterInstance, sources: Sources
) -> None:
    """A source for each file, and one that is well, in one run: none of them stops another."""
    paths = suite("n") + [path for path in suite("i") if path.name in REFUSED]
    assert len(paths) == 188 + len(REFUSED)
    bodies = {f"file_{number}": b"[" + wrapped(path) + b"]" for number, path in enumerate(paths)}
    bodies["well"] = b'[{"id": 1, "value": 1}]'
    upstream.answers |= {f"/{name}": body for name, body in bodies.items()}
    pipeline = sources({name: VALUE | {"path": f"/{name}"} for name in bodies})

    result = pipeline.definitions.resolve_job_def("all").execute_in_process(
        partition_key=today(), instance=instance, raise_on_error=False
    )

    assert not result.success
    ledger = pipeline.rows("select source, status, error from kasparro.etl_run")
    statuses = {row["source"]: row["status"] for row in ledger}
    assert statuses == dict.fromkeys(bodies, "failed") | {"well": "success"}
    for row in ledger:
        if row["source"] != "well":
            assert "the body is not JSON: " in row["error"] or "the JSON is nested too deep" in row["error"]
            assert f"/{row['source']})" in row["error"]
    assert pipeline.rows("select source from kasparro.document") == [{"source": "well"}]
    assert raw(pipeline) == [b'{"id": 1, "value": 1}']


def test_p1_p2_p5_every_document_of_the_json_test_suite_that_is_json_is_kept_and_has_an_outcome(
    upstream: Upstream, pipeline_of: Built
) -> None:
    paths = suite("y") + [path for path in suite("i") if path.name not in REFUSED]
    assert len(paths) == 95 + 35 - len(REFUSED)
    for path in paths:
        upstream.answers[f"/{quote(path.name)}"] = b"[" + wrapped(path) + b"]"
    names = [path.name for path in paths]
    attributes = VALUE | {
        "base_url": upstream.address,
        "path": "/{file}",
        "for_each": {"param": "file", "values": names},
    }
    pipeline = pipeline_of(RestSource, attributes)

    run = pipeline.run("it")

    assert raw(pipeline) == [wrapped(path) for path in paths]
    require_balance(run)
    rejected = pipeline.rows("select source_id, reasons from kasparro.rejected_record")
    assert {row["source_id"]: row["reasons"][0]["rule"] for row in rejected} == REJECTED
    assert pipeline.unified("it").keys() == set(names) - REJECTED.keys()
    before = pipeline.everything()
    assert pipeline.run("it").counts("documents", "inserted", "updated") == (0, 0, 0)
    assert pipeline.everything() == before


def naughty() -> list[str]:
    found: list[str] = json.loads(corpus("naughty-strings/blns.json").read_bytes())
    assert len(found) == 515
    return found


NAUGHTY: dict[str, Any] = {
    "kind": "string",
    "key": "id",
    "fields": {"title": {"path": "name"}, "tags": {"path": "labels"}},
}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_p1_p2_p5_every_naughty_string_survives_as_key_title_tag_and_name_of_a_field(
    upstream: Upstream, pipeline_of: Built, *, ascii_only: bool
) -> None:
    strings = naughty()
    payloads = [
        json.dumps({"id": s, "name": s, "labels": [s], "apart": {s: s}}, ensure_ascii=ascii_only).encode()
        for s in strings
    ]
    upstream.answers["/strings"] = b"[" + b",".join(payloads) + b"]"
    pipeline = pipeline_of(RestSource, NAUGHTY | {"base_url": upstream.address, "path": "/strings"})

    run = pipeline.run("it")

    blank = {s for s in strings if not s.strip()}
    assert raw(pipeline) == payloads
    require_balance(run)
    assert run.counts("read", "validated", "rejected") == (515, len(set(strings) - blank), 2)
    rejected = pipeline.rows("select reasons from kasparro.rejected_record")
    assert [row["reasons"][0]["rule"] for row in rejected] == ["key_blank"] * 2
    unified = pipeline.unified("it")
    assert unified.keys() == set(strings) - blank
    for key, row in unified.items():
        assert (row["title"], row["tags"], row["attributes"]) == (key, [key], {f"apart.{key}": key})
    before = pipeline.everything()
    assert pipeline.run("it").counts("documents", "inserted", "updated") == (0, 0, 0)
    assert pipeline.everything() == before


def test_p1_p2_p5_every_naughty_string_survives_as_a_parent_in_the_path_and_in_a_parameter(
    upstream: Upstream, sources: Sources
) -> None:
    strings = {s for s in naughty() if s.strip()}
    upstream.answers["/strings"] = [{"id": s, "name": s} for s in strings]

    def echo(query: dict[str, str], _headers: dict[str, str]) -> Any:
        return [{"id": 1, "saw": query["q"]}]

    for s in strings:
        # a segment of dots alone is written so that it leads to no other path
        path = quote(s, safe="") if s.strip(".") else "%2E" * len(s)
        upstream.answers[f"/echo/{path}"] = echo
    pipeline = sources(
        {
            "parents": NAUGHTY | {"path": "/strings"},
            "children": {
                "path": "/echo/{parent.id}",
                "params": {"q": "{parent.title}"},
                "parent": {"source": "parents", "include": ["title"]},
                "kind": "echo",
                "key": ["$document.parent.id", "id"],
                "fields": {"title": {"path": "saw"}, "asked": {"path": "$document.parent.title"}},
            },
        }
    )

    assert pipeline.run("parents").success
    run = pipeline.run("children")

    assert run.success, run.failure
    require_balance(run)
    found = pipeline.unified("children").values()
    assert sorted(row["title"] for row in found) == sorted(strings)
    assert all(row["attributes"]["asked"] == row["title"] for row in found)
    before = pipeline.everything()
    assert pipeline.run("children").success
    assert pipeline.everything() == before


RECORDED: dict[str, tuple[int, dict[str, Any]]] = {
    "coinpaprika_ticker_btc.json": (
        1,
        {"one_record": True, "fields": {"title": {"path": "name"}, "amount": {"path": "quotes.USD.price"}}},
    ),
    "coinpaprika_coin_btc.json": (1, {"one_record": True, "fields": {"title": {"path": "name"}}}),
    "coinpaprika_ohlcv_eth_2021-11_2022-01.json": (
        91,
        {"key": "time_open", "fields": {"published_at": {"path": "time_close"}, "amount": {"path": "close"}}},
    ),
    "coinpaprika_coins_2021.json": (13_383, {"fields": {"title": {"path": "name"}}}),
    "coingecko_coins_list_2021-05-15.json": (7_248, {"fields": {"title": {"path": "name"}}}),
    "coingecko_coins_list_2021-05-16.json": (7_281, {"fields": {"title": {"path": "name"}}}),
    "coingecko_coins_markets_2022-02-23.json": (
        250,
        {"fields": {"title": {"path": "name"}, "amount": {"path": "current_price"}}},
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_p1_p2_p5_a_recorded_answer_is_unified_with_exact_numbers(
    name: str, upstream: Upstream, pipeline_of: Built
) -> None:
    body = corpus(f"coins/{name}").read_bytes()
    number, attributes = RECORDED[name]
    read = json.loads(body, parse_float=Decimal)
    expected = [read] if attributes.get("one_record") else read
    assert len(expected) == number
    upstream.answers["/x"] = body
    common = {"base_url": upstream.address, "path": "/x", "kind": "thing", "key": "id"}
    pipeline = pipeline_of(RestSource, common | attributes)

    run = pipeline.run("it")

    require_balance(run)
    kept, place = raw(pipeline), 0
    for payload in kept:
        place = body.index(payload, place) + len(payload)
    assert [json.loads(payload, parse_float=Decimal) for payload in kept] == expected
    assert run.counts("read", "rejected", "inserted") == (number, 0, number)
    unified = pipeline.unified("it")
    paths = {name: field["path"].split(".") for name, field in attributes["fields"].items()}
    for record in expected:
        row = unified[record[attributes.get("key", "id")]]
        for field in {"title", "amount"} & paths.keys():
            value = record
            for part in paths[field]:
                value = value[part]
            assert row[field] == value
    before = pipeline.everything()
    assert pipeline.run("it").counts("documents", "inserted", "updated") == (0, 0, 0)
    assert pipeline.everything() == before
