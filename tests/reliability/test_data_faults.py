"""Faults of the data: each comes from a real upstream, and is followed through raw and validated to unified.

A test is named after its fault. What is refused is refused with a reason; what is good beside it goes on.
"""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from kasparro_pipeline.components import RestSource
from kasparro_pipeline.contract.evolution import MAX_ADDED
from kasparro_pipeline.extract.records import MAX_RECORD
from tests.integration.conftest import today

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Pipeline, Run, Upstream

    Built = Callable[..., Pipeline]

MB = 1 << 20
FIELDS: dict[str, Any] = {
    "title": {"path": "name"},
    "amount": {"path": "price"},
    "tags": {"path": "labels"},
    "more": {"type": "json"},
    "count": {"type": "integer"},
}
GOOD = b'{"id": "good", "name": "Good", "price": 1.50}'


class Fault:
    """A source of records that an upstream serves as bytes, beside a good one."""

    def __init__(self, upstream: Upstream, pipeline_of: Built) -> None:
        self.upstream, self._pipeline_of = upstream, pipeline_of
        self.attributes: dict[str, Any] = {
            "base_url": upstream.address,
            "path": "/things",
            "kind": "thing",
            "key": "id",
            "fields": FIELDS,
        }
        self.pipeline = pipeline_of(RestSource, self.attributes)

    def run(self, *payloads: bytes) -> Run:
        """Serve the records, and the good one behind them, and materialize the source. P1, P2 and P7 hold."""
        return self.run_body(b"[" + b",\n".join([*payloads, GOOD]) + b"]", [*payloads, GOOD])

    def run_body(self, body: bytes, payloads: list[bytes]) -> Run:
        """Serve a body that holds the records."""
        self.upstream.answers["/things"] = body
        run = self.pipeline.run("it")
        assert self.raw() == payloads
        read, validated, rejected, superseded = run.counts("read", "validated", "rejected", "superseded")
        assert (read, read) == (len(payloads), validated + rejected + superseded)
        return run

    def refused(self, body: bytes, headers: dict[str, str] | None = None) -> str:
        """Serve a body that is refused whole: nothing is stored, the run fails, and its error is returned."""
        self.upstream.answers["/things"] = (200, headers or {}, body)
        stored, documents = self.raw(), self.pipeline.value("select count(*) from kasparro.document")
        before = self.pipeline.everything()
        run = self.pipeline.run("it")
        assert not run.success
        assert run.ledger["status"] == "failed"
        assert (self.raw(), self.pipeline.value("select count(*) from kasparro.document")) == (
            stored,
            documents,
        )
        assert self.pipeline.everything() == before
        return str(run.ledger["error"])

    def raw(self) -> list[bytes]:
        """The payloads in raw."""
        rows = self.pipeline.rows("select payload from kasparro.raw_record order by id")
        return [bytes(row["payload"]) for row in rows]

    def rejected(self) -> list[tuple[str | None, str, str]]:
        """Key, field and rule of each reason, in the order of the records."""
        rows = self.pipeline.rows("select source_id, reasons from kasparro.rejected_record order by raw_id")
        return [(row["source_id"], one["field"], one["rule"]) for row in rows for one in row["reasons"]]

    def unified(self) -> dict[str, dict[str, Any]]:
        """The unified records by key."""
        return self.pipeline.unified("it")


@pytest.fixture
def fault(upstream: Upstream, pipeline_of: Built) -> Fault:
    return Fault(upstream, pipeline_of)


@pytest.mark.parametrize(
    ("written", "rule"),
    [(r"a\u0000b", "nul_character"), (r"\ud800", "lone_surrogate"), (r"\udc00\ud800", "lone_surrogate")],
)
def test_fault_38_nul_and_lone_surrogates_stay_in_raw_and_the_record_is_rejected_with_a_reason(
    written: str, rule: str, fault: Fault
) -> None:
    payloads = [
        b'{"id": "title", "name": "%s"}',
        b'{"id": "tag", "labels": ["x", "%s"]}',
        b'{"id": "deep", "more": {"a": [{"b": "%s"}]}}',
        b'{"id": "name", "more": {"%s": 1}}',
        b'{"id": "%s"}',
        b'{"id": "unnamed", "other": "%s", "%s": 1}',
    ]

    fault.run(*[payload.replace(b"%s", written.encode()) for payload in payloads])

    assert fault.rejected() == [
        ("title", "title", rule),
        ("tag", "tags", rule),
        ("deep", "more", rule),
        ("name", "more", rule),
        (None, "id", rule),
    ]
    # what the contract does not name costs no record: raw has it, and it is counted
    assert fault.unified()["unnamed"]["attributes"] == {"more": None, "count": None, "…": 2}
    assert fault.unified().keys() == {"good", "unnamed"}


NUMBERS = [
    "1e309",
    "-1e309",
    "1e-309",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "9" * 400,
    "-0." + "1234567890" * 40,
    "1234567890" * 20 + "." + "0987654321" * 20,
    "0.1000",
    "-0",
    "-0.0",
    "1E+2",
]


def peak_of(attributes: dict[str, Any], database_url: str, csv: str = "") -> tuple[int, str]:
    """Materialize the source, or a CSV file of it, in its own process: its peak in bytes, and what failed."""
    asked = {
        "component": "CsvSource" if csv else "RestSource",
        "attributes": attributes,
        "database_url": database_url,
        "partition": csv or today(),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.reliability.peak", json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, _, failed = done.stdout.partition(" ")
    return int(peak), failed.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_fault_39_a_field_of_100_mb_is_refused_or_rejected_in_bounded_memory(
    fault: Fault, database_url: str
) -> None:
    """A process with Dagster in it has about 140 MB. An answer over `max_bytes` is not read to its end. Where
    larger ones are allowed, a record is held some six times: body, text, value, payload, what is written."""
    huge = b'{"id": "huge", "name": "%s"}' % (b"x" * 100_000_000)
    fault.upstream.answers["/things"] = b"[" + huge + b"," + GOOD + b"]"
    local = {"allow_private_hosts": ["127.0.0.1"]}

    peak, failed = peak_of(fault.attributes | {"http": local}, database_url)

    assert "the body is larger than max_bytes, 67108864 bytes" in failed
    assert peak < 300 * MB
    assert fault.raw() == []

    peak, failed = peak_of(fault.attributes | {"http": local | {"max_bytes": 256 * MB}}, database_url)

    assert failed == ""
    assert peak < 900 * MB
    assert fault.raw() == [huge, GOOD]
    assert fault.rejected() == [(None, "record", "record_too_large")]
    assert fault.unified().keys() == {"good"}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_fault_39_many_long_rows_are_validated_in_bounded_memory(
    fault: Fault, tmp_path: Path, database_url: str
) -> None:
    """Batches are bounded by bytes too: in one of 6,000 such rows each would be held some ten times."""
    with (tmp_path / "long.csv").open("w") as file:
        file.write("id,name,price\n")
        file.writelines(f"{number},{'long ' * 2_000}{number},1\n" for number in range(6_000))
    attributes = {name: fault.attributes[name] for name in ("kind", "key", "fields")}

    peak, failed = peak_of(attributes | {"files": f"{tmp_path}/*.csv"}, database_url, csv="long.csv")

    assert failed == ""
    assert peak < 300 * MB
    assert fault.pipeline.value("select count(*) from kasparro.unified_record") == 6_000


def test_fault_39_a_record_of_exactly_the_limit_is_validated_and_one_byte_more_is_not(fault: Fault) -> None:
    record = b'{"id": 1, "other": "%s"}'
    room = MAX_RECORD - len(record % b"")

    fault.run(record % (b"x" * room), record % (b"y" * (room + 1)))

    assert fault.rejected() == [(None, "record", "record_too_large")]
    assert fault.unified().keys() == {"good", "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_fault_39_of_10_000_columns_as_many_as_fit_are_kept_or_the_record_is_rejected(
    fault: Fault, pipeline_of: Built, database_url: str
) -> None:
    wide = [{"id": number} | {f"column {n}": number + n for n in range(10_000)} for number in range(50)]
    fault.upstream.answers["/things"] = wide
    attributes = fault.attributes | {"http": {"allow_private_hosts": ["127.0.0.1"]}}

    peak, failed = peak_of(attributes, database_url)

    assert failed == ""
    assert peak < 600 * MB
    kept = fault.unified()
    assert len(kept) == 50
    for row in kept.values():
        assert (
            len(row["attributes"]) == 2 + MAX_ADDED + 1
        )  # declared ones, new ones, and how many were left out
        assert row["attributes"]["…"] == 10_000 - MAX_ADDED
    fault.pipeline = pipeline_of(
        RestSource, fault.attributes | {"schema_contract": {"added": "quarantine_row"}}
    )
    assert fault.pipeline.run("it").counts("rejected") == (50,)
    assert {rule for _, _, rule in fault.rejected()} == {"unknown_field"}


def test_fault_40_numbers_beyond_a_float_and_beyond_64_bits_are_exact_to_the_last_digit(fault: Fault) -> None:
    payloads = [
        b'{"id": "%d", "price": %s, "more": [%s], "other": %s}' % (index, text, text, text)
        for index, text in enumerate(number.encode() for number in NUMBERS)
    ]

    run = fault.run(*payloads)

    assert run.ledger["rejected"] == 0
    texts = fault.pipeline.rows(
        "select source_id, amount::text, attributes #>> '{more,0}' as more, attributes ->> 'other' as other"
        " from kasparro.unified_record where source_id <> 'good'"
    )
    assert len(texts) == len(NUMBERS)
    for row in texts:
        number = Decimal(NUMBERS[int(row["source_id"])])
        assert [Decimal(row[name]) for name in ("amount", "more", "other")] == [number] * 3
    before = fault.pipeline.everything()
    fault.pipeline.run("it")
    assert fault.pipeline.everything() == before


def test_fault_40_a_whole_number_of_any_size_is_exact(fault: Fault) -> None:
    whole = [text for text in NUMBERS if Decimal(text) == Decimal(text).to_integral_value()]
    assert len(whole) > len(NUMBERS) / 2

    fault.run(*(b'{"id": "%s", "count": %s}' % (text[:90].encode(), text.encode()) for text in whole))

    stored = fault.pipeline.rows(
        "select source_id, attributes ->> 'count' as count from kasparro.unified_record"
        " where source_id <> 'good'"
    )
    found = {row["source_id"]: Decimal(row["count"]) for row in stored}
    assert found == {text[:90]: Decimal(text) for text in whole}


NO_NUMBERS = {
    b'"NaN"': "number_parsing",
    b'"Infinity"': "number_parsing",
    b'"-inf"': "number_parsing",
    b"1e1001": "number_out_of_range",
    b"1e-1001": "number_out_of_range",
    b"1e999999999": "number_out_of_range",
    b"1e99999999999999999999": "number_not_finite",
    b"9" * 5000: "number_out_of_range",
    b"true": "number_type",
}


def test_fault_40_what_is_no_finite_number_of_1000_digits_is_rejected(fault: Fault) -> None:
    amounts = [b'{"id": "a%d", "price": %s}' % (n, value) for n, value in enumerate(NO_NUMBERS)]
    counts = [b'{"id": "c%d", "count": %s}' % (n, value) for n, value in enumerate(NO_NUMBERS)]

    fault.run(*amounts, *counts)

    rules = list(NO_NUMBERS.values())
    whole = ["integer_parsing" if rule == "number_parsing" else rule for rule in rules]
    assert fault.rejected() == [(f"a{n}", "amount", rule) for n, rule in enumerate(rules)] + [
        (f"c{n}", "count", rule) for n, rule in enumerate(whole)
    ]
    assert fault.unified().keys() == {"good"}


def test_fault_40_what_json_does_not_know_as_a_number_refuses_the_document(fault: Fault) -> None:
    fault.run()

    for word in (b"NaN", b"Infinity", b"-Infinity", b"+1", b"0x10", b".5"):
        assert "the body is not JSON" in fault.refused(b'[{"id": 1, "price": %s}]' % word)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_fault_41_json_nested_100_000_deep_is_refused_and_nothing_of_before_is_touched(
    opening: bytes, fault: Fault
) -> None:
    fault.run()
    depth = 100_000
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * depth + b"1" + closing * depth

    assert "the JSON is nested too deep" in fault.refused(b'[{"id": 1, "more": ' + deep + b"}]")
    assert "the JSON is nested too deep" in fault.refused(deep)
    assert "the JSON is nested too deep" in fault.refused(opening * depth)


def test_fault_41_nesting_of_any_depth_that_can_be_read_is_kept_or_rejected_as_its_own_record(
    fault: Fault,
) -> None:
    depths = [1, 8, 63, 64, 65, 66, 100, 400, 700, 800]
    payloads = [b'{"id": %d, "more": %s1%s}' % (depth, b"[" * depth, b"]" * depth) for depth in depths]

    fault.run(*payloads)

    assert fault.rejected() == [(str(depth), "more", "json_too_deep") for depth in depths if depth > 64]
    assert fault.unified().keys() == {"good", *(str(depth) for depth in depths if depth <= 64)}


def test_fault_41_at_the_depth_where_reading_ends_a_record_is_rejected_or_its_document_refused(
    fault: Fault,
) -> None:
    """Where Python gives up depends on who asks: a record may be cut, and be too deep to be read again."""
    outcomes = set()
    for depth in range(900, 1001, 4):
        payload = b'{"id": %d, "other": %s1%s}' % (depth, b"[" * depth, b"]" * depth)
        fault.upstream.answers["/things"] = b"[" + payload + b"," + GOOD + b"]"
        run = fault.pipeline.run("it")
        if run.success:
            assert run.counts("extracted") == (2,)
            outcomes.add("taken")
        else:
            assert "the JSON is nested too deep" in run.ledger["error"]
            outcomes.add("refused")
    assert outcomes == {"taken", "refused"}
    lost = fault.pipeline.value(
        "select count(*) from kasparro.raw_record r where not exists"
        " (select from kasparro.validated_record v where v.raw_id = r.id)"
        " and not exists (select from kasparro.rejected_record x where x.raw_id = r.id)"
    )
    assert lost == 0


def test_fault_42_of_a_key_that_comes_twice_the_last_value_counts_and_raw_has_both(fault: Fault) -> None:
    """The policy is stated in docs/contracts.md."""
    first = b'{"id": 1, "name": "first", "price": 1, "name": "last", "price": 2.50, "id": 2}'
    deep = b'{"id": 3, "more": {"a": 1, "a": {"b": 2, "b": 3}}, "n": {"x": 1}, "n": {"y": 2}}'

    fault.run(first, deep)

    rows = fault.unified()
    assert rows.keys() == {"2", "3", "good"}
    assert (rows["2"]["title"], rows["2"]["amount"]) == ("last", Decimal("2.50"))
    assert rows["3"]["attributes"] == {"more": {"a": {"b": 3}}, "n.y": 2, "count": None}
    page = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text("utf-8")
    assert "Of a key that an object has twice, the last value counts" in " ".join(page.split())


ALIKE = [
    "Straße",
    "STRASSE",
    "strasse",
    "a",
    "A",
    " a",
    "a ",
    "a\t",
    "\u00a0a",
    "caf\u00e9",
    unicodedata.normalize("NFD", "caf\u00e9"),
    "\u212b",
    "\u00c5",
    "A\u030a",
    "\ufb01",
    "fi",
    "1",
    "01",
    "1.0",
    "\uff11",
    "\u0131",
    "i",
    "I",
    "\u0130",
    "x\u200by",
    "xy",
    "k" * 512,
    "k" * 511 + "K",
    "%s",
    "a:b",
    "a\\:b",
]


def test_fault_43_ids_that_are_equal_only_after_case_folding_nfc_or_trim_are_never_merged(
    fault: Fault,
) -> None:
    fault.run(
        *(
            json.dumps({"id": key, "name": str(index)}, ensure_ascii=bool(index % 2)).encode()
            for index, key in enumerate(ALIKE)
        )
    )

    found = {key: row["title"] for key, row in fault.unified().items() if key != "good"}
    assert found == {key: str(index) for index, key in enumerate(ALIKE)}


NO_KEYS = {
    '"%s"' % ("k" * 513): "key_too_long",
    '"%s"' % ("k" * 100_000): "key_too_long",
    "9" * 513: "key_too_long",
    '""': "key_blank",
    '"   "': "key_blank",
    r'"\u00a0\u2003\n"': "key_blank",
    "null": "key_missing",
    "true": "key_type",
    "1.0": "key_type",
    "[1]": "key_type",
    '{"id": 1}': "key_type",
}


def test_fault_43_an_id_that_is_too_long_blank_or_none_is_rejected_by_its_rule(fault: Fault) -> None:
    fault.run(*(b'{"id": %s, "name": "%d"}' % (key.encode(), n) for key in NO_KEYS for n in range(2)))

    assert fault.rejected() == [(None, "id", rule) for rule in NO_KEYS.values() for _ in range(2)]
    assert fault.unified().keys() == {"good"}


TEXTS = "Grüße, 日本語, 😀, \u2028"
MARKED = {
    "utf-8": b"",
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def test_fault_44_a_body_in_utf_8_or_with_a_byte_order_mark_is_exact_whatever_its_header_says(
    upstream: Upstream, pipeline_of: Built
) -> None:
    fault = Fault(upstream, pipeline_of)
    wanted: dict[str, bytes] = {}
    for name, mark in MARKED.items():
        encoding = name.removesuffix("-sig")
        for charset in ("", "; charset=iso-8859-1"):
            key = f"{name}{charset}"
            payload = json.dumps({"id": key, "name": TEXTS}, ensure_ascii=False)
            wanted[key] = payload.encode(encoding)
            headers = {"Content-Type": f"application/json{charset}"}
            upstream.answers[f"/{quote(key)}"] = (200, headers, mark + f"[{payload}]".encode(encoding))
    each = {"path": "/{name}", "for_each": {"param": "name", "values": list(wanted)}}
    fault.pipeline = pipeline_of(RestSource, fault.attributes | each)

    run = fault.pipeline.run("it")

    assert run.success, run.failure
    assert fault.raw() == list(wanted.values())
    assert {key: row["title"] for key, row in fault.unified().items()} == dict.fromkeys(wanted, TEXTS)


UNMARKED = [
    '[{"id": 1, "name": "Grüße"}]'.encode("latin-1"),
    '[{"id": 1, "name": "€"}]'.encode("cp1252"),
    '[{"id": 1, "name": "日本"}]'.encode("shift-jis"),
    '[{"id": 1, "name": "ü"}]'.encode("utf-16-le"),
    '[{"id": 1, "name": "ü"}]'.encode("utf-16-be"),
    '[{"id": 1, "name": "ü"}, '.encode() + '{"id": 2, "name": "ü"}]'.encode("latin-1"),
    codecs.BOM_UTF16_LE + '[{"id": 1, "name": "ü"}]'.encode("utf-16-le") + "ü".encode(),
    codecs.BOM_UTF16_LE + b"[]\x00",
    codecs.BOM_UTF8 + '[{"id": 1, "name": "ü"}]'.encode("latin-1"),
    codecs.BOM_UTF8 * 2 + b"[]",
    b'[{"id": 1, "name": "\xed\xa0\x80"}]',
    b'[{"id": 1, "name": "\xc0\x80"}]',
]


def test_fault_44_a_body_in_another_or_a_mixed_encoding_is_refused_and_never_mojibake(fault: Fault) -> None:
    fault.run()

    for body in UNMARKED:
        said = fault.refused(body, {"Content-Type": "application/json; charset=iso-8859-1"})
        assert "the body is not JSON" in said

    assert fault.unified().keys() == {"good"}


def test_fault_51_if_every_record_is_invalid_all_are_rejected_the_check_fails_and_unified_stays(
    upstream: Upstream, pipeline_of: Built
) -> None:
    fault = Fault(upstream, pipeline_of)
    rule = {"title": {"path": "name"}, "amount": {"path": "price", "minimum": 0}}
    fault.pipeline = pipeline_of(RestSource, fault.attributes | {"fields": rule})
    upstream.answers["/things"] = [{"id": n, "name": "a", "price": n} for n in range(10)]
    assert fault.pipeline.run("it").check("rejected_share").passed
    before = fault.pipeline.rows("select t.ctid::text, t.xmin::text, t.* from kasparro.unified_record t")
    upstream.answers["/things"] = [{"id": n, "name": "b", "price": -1 - n} for n in range(10)]

    run = fault.pipeline.run("it")

    assert run.counts("extracted", "validated", "rejected", "inserted", "updated") == (10, 0, 10, 0, 0)
    assert {rule for _, _, rule in fault.rejected()} == {"greater_than_equal"}
    assert run.ledger["status"] == "partial"
    assert not run.check("rejected_share").passed
    assert "10 of 10 records" in str(run.check("rejected_share").description)
    after = fault.pipeline.rows("select t.ctid::text, t.xmin::text, t.* from kasparro.unified_record t")
    assert after == before
