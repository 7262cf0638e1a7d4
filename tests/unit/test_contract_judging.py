"""Many records judged at once have the outcomes that each of them has by itself."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.contract.columns import text_of
from kasparro_pipeline.contract.field_spec import COLUMN_TYPES
from kasparro_pipeline.contract.judging import Judged, compile_judge
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.contract.validation import NO_VERSION, Validated, compile_validator

TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "0",
            "-0",
            "1.50",
            "0.0000001",
            "0.000001",
            "0.0000000",
            "007",
            "1e5",
            "+1",
            "12345678901234567890",
        ]
    ),
    st.sampled_from(
        ["2024-02-29T23:59:59Z", "2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "0000-01-01T00:00:00Z"]
    ),
    st.sampled_from(
        ["2024-01-01", "2023-02-29", "2024-01-01T10:00:00+02:00", "2024-01-01 10:00", "31/12/2024"]
    ),
    st.sampled_from(
        ["https://a.example/b?c=d#e", "http://a", "HTTP://A/", "https://[::1]/", "ftp://a/", "http://a/ b"]
    ),
    st.sampled_from(
        ["true", "no", "a", "b", "<b>x</b>", "a\nb", "1\n2", 'say "hi"', "back\\slash", "\x00", "\ud800"]
    ),
    st.sampled_from(["naïve", "日本", "\u2028", "%s", "%", "{}", "a:b", "x" * 600]),
    st.text(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.decimals(allow_nan=True),
    st.lists(TEXTS, max_size=3),
    st.dictionaries(st.sampled_from(["x", "y"]), st.one_of(TEXTS, st.integers()), max_size=2),
)
NAMES = ("id", "title", "amount", "url", "published_at", "tags", "category", "n", "deep.x", "extra")
ALWAYS = {"title": {"required": True}}
FIELDS: list[dict[str, dict[str, Any]]] = [
    {"title": {}, "amount": {}, "url": {}, "published_at": {}, "category": {}, "tags": {}},
    {"title": {"required": True}, "amount": {"required": True}, "n": {"type": "integer"}},
    {
        "n": {"type": "integer"},
        "x": {"path": "deep.x"},
        "amount": {"default": 1.5},
        "title": {"value": "t %"},
    },
    {
        "n": {"type": "number", "minimum": 0, "precision": 8, "scale": 2},
        "title": {"min_length": 2, "max_length": 5},
    },
    {"n": {"type": "date"}, "title": {"transforms": ["strip_html", "trim"]}, "category": {"type": "string"}},
    {"n": {"type": "boolean"}, "title": {"type": "string", "pattern": "a"}, "url": {"max_length": 12}},
    {
        "n": {"type": "json"},
        "m": {"path": "tags", "type": "list"},
        "day": {"path": "$document.day", "type": "date"},
    },
    {"n": {"type": "enum", "values": ["a", "b"]}, "published_at": {"zone": "Europe/Berlin"}},
    {
        "n": {"type": "timestamp", "format": "unix"},
        "m": {"path": "n", "type": "timestamp", "zone": "required"},
    },
    {"n": {"type": "date", "format": "%d/%m/%Y"}, "m": {"path": "n", "type": "url"}, "k": {"path": "n"}},
]
PARTS: list[dict[str, Any]] = [
    {},
    {"key": ["id", "n"]},
    {"key": "$document.day"},
    {"key": "$record_hash"},
    {"key": ["$document.day", "$record_hash"], "version": {"path": "n", "type": "number"}},
    {"version": {"path": "n", "type": "integer"}},
    {"version": {"path": "$document.day", "type": "date"}},
    {"version": {"path": "published_at", "type": "timestamp"}},
    {"version": {"path": "amount", "type": "number"}, "ignore": ["extra"]},
    {"schema_contract": {"added": "quarantine_row"}},
    {"schema_contract": dict.fromkeys(["retyped", "nullability", "removed", "format", "enum"], "evolve")},
    {"schema_contract": {"nullability": "evolve", "explosion": "quarantine_row"}},
]
CONTRACTS = [
    Contract.model_validate({"kind": "thing", "key": "id", "fields": fields} | parts)
    for fields in FIELDS
    for parts in PARTS
]
COMPILED = [(compile_judge(contract), compile_validator(contract)) for contract in CONTRACTS]
CONTEXT = {"day": "2024-05-06"}
RECORDS = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
    st.fixed_dictionaries(
        {"id": st.integers() | TEXTS, "title": TEXTS, "n": VALUES, "deep": st.just({"x": "1"})}
    ),
    VALUES,
)


def expected(validate: Any, records: list[Any]) -> tuple[list[Any], list[Any]]:
    kept, rejected = [], []
    for index, record in enumerate(records):
        outcome = validate(record, CONTEXT)
        if isinstance(outcome, Validated):
            columns = {name: written(name, outcome.columns[name]) for name in (*COLUMN_TYPES, "attributes")}
            kept.append((index, outcome.source_id, outcome.version, columns, outcome.content_hash))
        else:
            rejected.append((index, outcome))
    return kept, rejected


def written(name: str, value: Any) -> str | None:
    return value if value is None or name == "attributes" else text_of(COLUMN_TYPES[name], value)


def found(judged: Judged) -> tuple[list[Any], list[Any]]:
    versions = [NO_VERSION] * len(judged.kept) if judged.versions is None else judged.versions
    kept = [
        (
            index,
            judged.source_ids[place],
            versions[place],
            {name: column[place] for name, column in judged.columns.items()},
            judged.hashes[place],
        )
        for place, index in enumerate(judged.kept)
    ]
    return kept, judged.rejected


@settings(max_examples=400)
@given(st.lists(RECORDS, max_size=6), st.integers(0, len(COMPILED) - 1))
def test_many_records_have_the_outcomes_that_each_has_by_itself(records: list[Any], which: int) -> None:
    judge, validate = COMPILED[which]
    assert found(judge(records, CONTEXT)) == expected(validate, records)


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1).flatmap(
        lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, st.none() | TEXTS)), max_size=6)
    ),
    st.integers(0, len(COMPILED) - 1),
)
def test_rows_of_a_table_have_the_outcomes_that_each_has_as_a_record(
    records: list[dict[str, str | None]], which: int
) -> None:
    judge, validate = COMPILED[which]
    names = list(records[0]) if records else []
    table = Table({name: [record[name] for record in records] for name in names}, len(records))
    assert list(table) == records
    assert found(judge(table, CONTEXT)) == expected(validate, records)


@given(
    st.lists(TEXTS, min_size=1), st.sampled_from(["string", "number", "integer", "timestamp", "date", "url"])
)
def test_a_column_of_one_type_is_written_as_its_values_are(texts: list[str], kind: str) -> None:
    contract = Contract.model_validate({"kind": "t", "key": "id", "fields": {"x": {"type": kind}}})
    records = [{"id": "1", "x": text} for text in texts]
    assert found(compile_judge(contract)(records, {})) == expected(compile_validator(contract), records)


@pytest.mark.parametrize("year", [0, 1, 999, 1000, 1900, 1999, 2000, 2023, 2024, 2100, 9996, 9999])
def test_a_day_of_a_column_is_one_of_the_calendar(year: int) -> None:
    days = [f"{year:04}-{month:02}-{day:02}" for month in range(14) for day in range(33)]
    for kind, texts in {"date": days, "timestamp": [f"{day}T23:59:59Z" for day in days]}.items():
        contract = Contract.model_validate({"kind": "t", "key": "id", "fields": {"x": {"type": kind}}})
        judge, validate = compile_judge(contract), compile_validator(contract)
        records = [{"id": "1", "x": text} for text in texts]
        assert found(judge(records, {})) == expected(validate, records)
        for record in records[::7]:
            assert found(judge([record], {})) == expected(validate, [record])


@pytest.mark.parametrize("bad", [[0], [5, 6, 99], list(range(100)), []])
def test_a_few_bad_or_empty_values_leave_the_others_of_their_column_alone(bad: list[int]) -> None:
    fields = {"title": {"required": True}, "published_at": {}, "amount": {"default": "7"}}
    contract = Contract.model_validate({"kind": "t", "key": "id", "fields": fields})
    right: dict[str, Any] = {"title": 'a "b"', "published_at": "2024-02-28T00:00:00Z", "amount": "1"}
    for wrong in ("", None, "\x00", "2024-02-30T00:00:00Z"):
        for name in right:
            records = [{"id": str(n), **right} | ({name: wrong} if n in bad else {}) for n in range(100)]
            assert found(compile_judge(contract)(records, {})) == expected(
                compile_validator(contract), records
            )


def test_what_is_plainly_right_is_not_judged_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Contract.model_validate({"kind": "t", "key": "id", "fields": ALWAYS | {"amount": {}, "n": {}}})
    judged_alone: list[object] = []
    reference = compile_validator(contract)

    def validate(record: object, context: Mapping[str, Any]) -> Any:
        judged_alone.append(record)
        return reference(record, context)

    monkeypatch.setattr("kasparro_pipeline.contract.judging.compile_validator", lambda _: validate)
    records = [{"id": str(n), "title": "a", "amount": Decimal(n), "n": "%"} for n in range(9)]
    records[4]["title"] = None
    assert len(compile_judge(contract)(records, {}).kept) == 8
    assert judged_alone == [records[4]]
