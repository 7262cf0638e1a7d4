"""The contract as a user writes it: what is refused, and what the message says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from kasparro_pipeline.components import CsvSource
from kasparro_pipeline.contract.spec import COLUMN_TYPES, Contract, FieldSpec, SchemaContract


def contract(**parts: Any) -> Contract:
    return Contract.model_validate({"kind": "asset", "key": "id", "fields": {"title": {}}} | parts)


def refused(**parts: Any) -> str:
    with pytest.raises(ValidationError) as error:
        contract(**parts)
    return "\n".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.value.errors())


def test_a_misspelt_key_names_the_ones_there_are() -> None:
    assert "feilds: unknown key; the known ones are kind, key, version, fields" in refused(feilds={})
    said = refused(fields={"title": {"requierd": True}})
    assert said.startswith(
        "fields.title.requierd: unknown key; the known ones are path, value, type, required"
    )


def test_each_mistake_is_reported_at_its_own_place() -> None:
    said = refused(fields={"title": {"x": 1, "type": "txt"}}, schema_contract={"added": "maybe", "y": 1})
    assert "fields.title.x: unknown key" in said
    assert "fields.title.type: " in said
    assert "schema_contract.added: " in said
    assert "schema_contract.y: unknown key; the known ones are added, removed, renamed, retyped" in said


@pytest.mark.parametrize("name", sorted(COLUMN_TYPES))
def test_a_shared_column_keeps_its_type(name: str) -> None:
    assert contract(fields={name: {}}).type_of(name) == COLUMN_TYPES[name]
    assert f"`{name}` is a shared column of type {COLUMN_TYPES[name]}" in refused(
        fields={name: {"type": "json"}}
    )


def test_another_field_is_text_unless_it_says_otherwise() -> None:
    made = contract(fields={"symbol": {}, "rank": {"type": "integer", "path": "data.rank"}})
    assert (made.type_of("symbol"), made.path_of("symbol")) == ("string", "symbol")
    assert (made.type_of("rank"), made.path_of("rank")) == ("integer", "data.rank")


@pytest.mark.parametrize("name", ["id", "source", "source_id", "kind", "attributes", "raw_id", "run_id"])
def test_a_name_of_the_table_itself_is_refused(name: str) -> None:
    assert "taken by the table itself" in refused(fields={name: {}})


@pytest.mark.parametrize("name", ["Title", "1st", "a-b", "", "a" * 64, "a.b", "\u00e9"])
def test_a_name_that_is_no_column_name_is_refused(name: str) -> None:
    assert refused(fields={name: {}})


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"path": "a", "value": "b"}, "give `path` or `value`, not both"),
        ({"type": "enum"}, "go together"),
        ({"values": ["a"]}, "go together"),
        ({"path": ""}, "at least 1 character"),
        ({"minimum": 1}, "`minimum` is for integer, number"),
        ({"type": "boolean", "maximum": 1}, "`maximum` is for integer, number"),
        ({"type": "number", "pattern": "a"}, "`pattern` is for enum, string, url"),
        ({"type": "list", "max_length": 3}, "`max_length` is for enum, string, url"),
        ({"type": "date", "format": "unix"}, "`format: unix` is for timestamp"),
        ({"type": "number", "format": "unix"}, "`format` is for date, timestamp"),
        ({"pattern": "("}, "`(` is not a regular expression"),
        ({"pattern": "(?=a)"}, "is not a regular expression"),
        ({"type": "number", "minimum": float("nan")}, "finite"),
        ({"max_length": 0}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_does_not_fit_its_field_is_refused(field: dict[str, Any], said: str) -> None:
    assert said in refused(fields={"symbol": field})


def test_a_version_is_a_field_that_compares_or_a_path_of_its_own() -> None:
    fields = {"title": {}, "rank": {"type": "integer"}, "seen": {"type": "timestamp"}}
    assert contract(fields=fields, version="rank").version == "rank"
    assert contract(version={"path": "$document.file_date", "type": "date"}).version
    assert "no field is named `rnk`; fields: title, rank, seen" in refused(fields=fields, version="rnk")
    assert "must be one of date, integer, number, timestamp" in refused(fields=fields, version="title")
    assert refused(version={"path": "x", "type": "string"})


@pytest.mark.parametrize("key", [[], "", ["a", ""], None])
def test_a_key_has_at_least_one_path(key: Any) -> None:
    assert refused(key=key)


def test_the_record_hash_is_for_the_key_alone() -> None:
    assert contract(key="$record_hash").key_paths == ("$record_hash",)
    assert contract(key=["$document.file", "$record_hash"]).key_paths == ("$document.file", "$record_hash")
    said = "`$record_hash` is for `key` alone, which becomes `source_id`"
    assert f"fields.title: {said}" in refused(fields={"title": {"path": "$record_hash"}})
    assert f"version: {said}" in refused(version={"path": "$record_hash", "type": "integer"})


def test_a_contract_promises_at_least_one_field() -> None:
    assert refused(fields={})


def test_one_key_and_a_list_of_one_mean_the_same_paths() -> None:
    assert contract(key="id").key_paths == contract(key=["id"]).key_paths == ("id",)


def test_the_modes_default_as_documented() -> None:
    modes = SchemaContract()
    assert (modes.added, modes.removed, modes.retyped) == ("evolve", "freeze", "quarantine_row")


names = st.sampled_from(["title", "symbol", "amount", "rank"])
fields = st.fixed_dictionaries(
    {}, optional={"path": st.sampled_from(["a", "b.c"]), "required": st.booleans()}
)


@given(st.dictionaries(names, fields, min_size=1), st.sampled_from(["id", "slug"]))
def test_equal_contracts_have_equal_digests_whatever_the_order(spec: dict[str, Any], key: str) -> None:
    one = contract(fields=spec, key=key)
    other = contract(fields=dict(reversed(spec.items())), key=key)
    assert one == other
    assert one.digest() == other.digest()
    assert Contract.model_validate_json(one.as_json()) == one


@given(st.tuples(st.dictionaries(names, fields, min_size=1), st.dictionaries(names, fields, min_size=1)))
def test_different_contracts_have_different_digests(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, other = (contract(fields=spec) for spec in pair)
    assert (one == other) == (one.digest() == other.digest())


def test_a_default_that_is_written_out_changes_nothing() -> None:
    plain = contract(fields={"title": {}})
    written = contract(fields={"title": {"required": False, "format": "iso"}}, ignore=[], schema_contract={})
    assert plain.digest() == written.digest()


def test_a_contract_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        FieldSpec().__setattr__("path", "x")


@pytest.mark.parametrize("default", [None, True, 1, 0.5, "a", [], ["a"], {"a": 1}])
def test_the_schema_that_checks_a_defs_yaml_takes_every_rule_of_a_field(default: Any) -> None:
    field = {
        "type": "timestamp",
        "format": "%d/%m/%Y",
        "zone": "Europe/Berlin",
        "transforms": ["trim", "strip_html"],
        "default": default,
        "description": "a",
        **dict.fromkeys(("minimum", "maximum"), 0.5),
        **dict.fromkeys(("precision", "scale", "min_length", "max_items", "max_bytes"), 2),
    }
    source = {"files": "*.csv", "kind": "thing", "key": "id", "fields": {"x": field}}
    check = Draft202012Validator(CsvSource.spec_class.model_json_schema())
    assert [error.message for error in check.iter_errors(source)] == []
    field["format"] = "unixtime"
    assert [list(error.path) for error in check.iter_errors(source)] == [["fields", "x", "format"]]
