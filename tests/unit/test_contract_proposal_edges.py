"""A proposal is a contract that Dagster reads as it was meant, or it says what it leaves to a person."""

from typing import Any

import pytest
import yaml

from kasparro_pipeline.contract.contract_file import changed, contract_in
from kasparro_pipeline.contract.drift import compare
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.proposal import Proposal, propose
from kasparro_pipeline.contract.spec import Contract


def file_of(fields: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump({"attributes": {"kind": "thing", "key": "id", "fields": fields, **more}})


def proposed(
    text: str, records: list[dict[str, Any]], *, text_only: bool = False
) -> tuple[Contract, list[str]]:
    """The contract after the proposal, as Dagster would read it, and what is left."""
    profile = Profile(text_only=text_only)
    profile.observe(records, range(len(records)))
    contract = contract_in(text)
    proposal = propose(contract, profile, compare(contract, profile))
    return contract_in(changed(text, proposal)), proposal.left


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"transforms": ["trim"]}, {"a": 1}),
        ({"transforms": ["trim"]}, 5),
        ({"type": "enum", "values": ["a"], "transforms": ["lower"]}, {"a": 1}),
        ({"type": "timestamp", "zone": "Europe/Berlin"}, 1763719200),
        ({"type": "timestamp", "zone": "required"}, 1763719200000),
        ({"type": "integer", "default": 3}, "many"),
        ({"type": "number", "precision": 5, "scale": 2}, "much"),
        ({"type": "timestamp", "format": "%d/%m/%Y"}, "yesterday"),
    ],
)
def test_a_changed_type_takes_along_only_rules_that_it_has(field: dict[str, Any], value: object) -> None:
    records = [{"id": "1", "x": value}, {"id": "2", "x": value}]
    contract, left = proposed(file_of({"x": field, "title": {}}), records)
    assert left == []
    assert contract.fields.keys() >= {"x"}


def test_a_version_that_is_no_version_any_more_is_left_to_a_person() -> None:
    text = file_of({"updated": {"type": "timestamp"}, "title": {}}, version="updated")
    records = [{"id": str(n), "updated": "yesterday", "title": "a"} for n in range(3)]
    contract, left = proposed(text, records, text_only=True)
    assert contract.type_of("updated") == "timestamp"
    assert any("updated" in sentence and "version" in sentence for sentence in left)


@pytest.mark.parametrize(
    "value", ["no", "on", "yes", "1:30", "null", "~", "2026-01-01", "0o17", "1_000", "=", ""]
)
def test_what_yaml_would_take_for_something_else_is_quoted(value: str) -> None:
    text = file_of({"state": {"type": "enum", "values": ["open"]}})
    after = changed(text, Proposal(fields={"state": {"values": ["open", value]}}))
    assert yaml.safe_load(after)["attributes"]["fields"]["state"]["values"] == ["open", value]
    assert contract_in(after).fields["state"].values == ("open", value)


def test_a_field_named_like_a_word_of_yaml_stays_a_name() -> None:
    after = changed(file_of({"title": {}}), Proposal(fields={"on": {"path": "no"}}, ignore=["yes"]))
    contract = contract_in(after)
    assert contract.path_of("on") == "no"
    assert contract.ignore == ("yes",)


def test_a_value_too_long_to_be_shown_is_left_to_a_person() -> None:
    text = file_of({"state": {"type": "enum", "values": ["open"]}})
    contract, left = proposed(text, [{"id": "1", "state": "z" * 150}])
    assert contract.fields["state"].values == ("open",)
    assert any("too long" in sentence for sentence in left)


def test_a_value_where_an_object_was_promised_is_left_to_a_person() -> None:
    text = file_of({"usd": {"path": "q.usd", "type": "number"}, "title": {}})
    _, left = proposed(text, [{"id": "1", "q": 5, "title": "a"}, {"id": "2", "q": {"usd": 1}, "title": "b"}])
    assert left == ["q: an object is expected there, for the fields below it"]
