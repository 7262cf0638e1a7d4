"""The contract that would fit what came: its changes, their compatibility, and the text of the file."""

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.contract.compatibility import compatibility
from kasparro_pipeline.contract.contract_file import ContractFileError, changed, contract_in, difference
from kasparro_pipeline.contract.drift import compare
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.proposal import Proposal, propose
from kasparro_pipeline.contract.spec import Contract, FieldSpec
from kasparro_pipeline.contract.validation import Validated, compile_validator
from tests.conftest import PROJECT

FILE = """\
# A source that somebody wrote with care
type: kasparro_pipeline.components.RestSource

attributes:
  kind: thing
  key: id
  fields:
    title: {path: name, required: true}   # what people search for
    amount:
      path: price
      type: number
    rank: {type: integer}
    state: {type: enum, values: [open, closed]}
    at: {type: timestamp}
    note: {}
  ignore:
    - internal   # theirs
"""
RECORD: dict[str, Any] = {
    "id": 1,
    "name": "a",
    "price": Decimal("1.5"),
    "rank": 3,
    "state": "open",
    "at": "2024-01-01T10:00:00Z",
    "note": "n",
}


def profile_of(records: list[Any], *, text_only: bool = False) -> Profile:
    made = Profile(text_only=text_only)
    made.observe(records, range(len(records)))
    return made


def accepted(text: str, *records: Any, text_only: bool = False) -> tuple[str, str, list[str]]:
    """The new text, the compatibility, and what is left to a person; the new contract fits what came."""
    contract, profile = contract_in(text), profile_of(list(records), text_only=text_only)
    drifts = compare(contract, profile)
    assert drifts
    proposal = propose(contract, profile, drifts)
    after = changed(text, proposal)
    if not proposal.left:
        assert compare(contract_in(after), profile) == []
    return after, compatibility(contract, profile, drifts), proposal.left


def lines_of(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that went and those that came; a comment stays in its column."""
    lines = difference(before, after, "defs.yaml").splitlines()[2:]
    found: dict[str, list[str]] = {"-": [], "+": [], " ": [], "@": []}
    for line in lines:
        found[line[0]].append(" ".join(line[1:].split()))
    return found["-"], found["+"]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in RECORD.items() if key != name}


@pytest.mark.parametrize(
    ("records", "compatible", "went", "came"),
    [
        ([RECORD | {"brand-New": 5}], "full", [], ["brand_new: {path: brand-New, type: integer}"]),
        ([RECORD | {"day": "2024-01-01"}], "full", [], ["day: {type: date}"]),
        ([RECORD | {"x": {"y": True}}], "full", [], ["x_y: {path: x.y, type: boolean}"]),
        ([RECORD | {"tags": [{"a": 1}]}], "full", [], ["tags_2: {path: tags, type: json}"]),
        ([RECORD | {"source": "s"}], "full", [], ["source_2: {path: source}"]),
        ([RECORD | {"empty": None}], "full", [], ["- empty"]),
        ([RECORD | {"by": dict.fromkeys(map(str, range(999)), 1)}], "full", [], ["- by"]),
        ([without("note")], "full", ["note: {}"], []),
        (
            [without("name")],
            "backward",
            ["title: {path: name, required: true} # what people search for"],
            [],
        ),
        (
            [without("rank") | {"rank_now": 3}],
            "full",
            ["rank: {type: integer}"],
            ["rank: {type: integer, path: rank_now}"],
        ),
        (
            [RECORD | {"rank": Decimal("1.5")}, RECORD],
            "backward",
            ["rank: {type: integer}"],
            ["rank: {type: number}"],
        ),
        ([RECORD | {"rank": "first"}], "none", ["rank: {type: integer}"], ["rank: {type: string}"]),
        ([RECORD | {"rank": "first"}, RECORD], "backward", ["rank: {type: integer}"], ["rank: {type: json}"]),
        (
            [RECORD, RECORD | {"name": None}],
            "backward",
            ["title: {path: name, required: true} # what people search for"],
            ["title: {path: name} # what people search for"],
        ),
        (
            [RECORD | {"state": "lost"}],
            "backward",
            ["state: {type: enum, values: [open, closed]}"],
            ["state: {type: enum, values: [open, closed, lost]}"],
        ),
        (
            [RECORD | {"at": 1_704_103_200}],
            "none",
            ["at: {type: timestamp}"],
            ["at: {type: timestamp, format: unix}"],
        ),
        ([RECORD | {"at": "31/01/2024"}], "backward", ["at: {type: timestamp}"], ["at: {type: string}"]),
    ],
)
def test_each_kind_of_change_has_its_line_and_its_compatibility(
    records: list[Any], compatible: str, went: list[str], came: list[str]
) -> None:
    after, word, left = accepted(FILE, *records)
    assert (word, left) == (compatible, [])
    assert lines_of(FILE, after) == (went, came)


@pytest.mark.parametrize(
    "came",
    [
        [RECORD | {"new": 5}],
        [without("note")],
        [without("name")],
        [without("name") | {"names": "a"}],
        [without("rank") | {"rank_now": 3}],
        [RECORD | {"rank": Decimal("1.5")}, RECORD],
        [RECORD | {"rank": "first"}],
        [RECORD | {"rank": "first"}, RECORD],
        [RECORD | {"name": None}],
        [RECORD | {"state": "lost"}],
        [RECORD | {"state": f"word {n}"} for n in range(60)],
        [RECORD | {"at": 1_704_103_200}],
        [RECORD | {"at": 1_704_103_200}, RECORD],
        [RECORD | {"at": "31/01/2024"}],
        [RECORD | {"at": "Mon, 01 Jan 2024 10:00:00 GMT"}],
    ],
)
def test_the_compatibility_is_what_validation_makes_of_the_records(came: list[dict[str, Any]]) -> None:
    after, word, _ = accepted(FILE, *came)

    def reads(text: str, records: list[dict[str, Any]]) -> bool:
        validate = compile_validator(contract_in(text))
        return all(isinstance(validate(record, {}), Validated) for record in records)

    assert reads(after, came)
    backward, forward = reads(after, [RECORD]), reads(FILE, came)
    assert (
        word
        == {
            (True, True): "full",
            (True, False): "backward",
            (False, True): "forward",
            (False, False): "none",
        }[backward, forward]
    )


def test_a_renamed_field_that_was_required_is_compatible_with_nothing() -> None:
    after, word, _ = accepted(FILE, without("name") | {"names": "a"})
    assert word == "none"
    assert contract_in(after).path_of("title") == "names"


def test_several_changes_leave_what_each_of_them_leaves() -> None:
    _, word, _ = accepted(FILE, RECORD | {"new": 1, "state": "lost"})
    assert word == "backward"
    _, word, _ = accepted(FILE, RECORD | {"state": "lost", "at": 1_704_103_200})
    assert word == "none"


def test_no_change_is_full() -> None:
    contract = contract_in(FILE)
    assert compatibility(contract, profile_of([RECORD]), []) == "full"


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (without("id"), "id: no record can be without its key"),
        (RECORD | {"price": "dear"}, "price: the shared column amount holds a number"),
    ],
)
def test_what_no_contract_can_put_right_is_left_to_a_person(record: dict[str, Any], told: str) -> None:
    _, _, left = accepted(FILE, record)
    assert [line for line in left if line.startswith(told)]


def test_a_renamed_key_is_followed_in_key_and_version() -> None:
    text = FILE.replace("key: id", "key: [id, name]\n  version: {path: stamp, type: integer}")
    record = {key: value for key, value in RECORD.items() if key != "id"} | {"ids": 1, "stamps": 5}
    after, _, _ = accepted(text, record)
    contract = contract_in(after)
    assert contract.key == ("ids", "name")
    assert contract.version is not None
    assert not isinstance(contract.version, str)
    assert contract.version.path == "stamps"


def test_the_version_field_is_not_taken_from_a_contract() -> None:
    text = FILE.replace("key: id", "key: id\n  version: rank")
    after, word, left = accepted(text, without("rank"))
    assert (after, word, left) == (text, "none", ["rank: no record can be without its key or version"])


def test_a_field_that_is_read_twice_is_changed_twice() -> None:
    text = FILE.replace("    note: {}", "    note: {}\n    place: {path: rank, type: integer}")
    after, _, _ = accepted(text, RECORD | {"rank": "first"})
    assert {contract_in(after).type_of(name) for name in ("rank", "place")} == {"string"}


def test_rules_that_the_new_type_does_not_have_go() -> None:
    text = FILE.replace("rank: {type: integer}", "rank: {type: integer, minimum: 1, maximum: 9}")
    after, _, _ = accepted(text, RECORD | {"rank": "first"})
    assert lines_of(text, after)[1] == ["rank: {type: string}"]


def test_an_enum_that_became_free_text_is_a_text() -> None:
    after, _, _ = accepted(FILE, *[RECORD | {"state": f"word {n}"} for n in range(60)])
    assert lines_of(FILE, after)[1] == ["state: {type: string}"]


def test_a_contract_without_ignore_gets_one() -> None:
    text = FILE[: FILE.index("  ignore:")]
    after, _, _ = accepted(text, RECORD | {"empty": None})
    assert contract_in(after).ignore == ("empty",)


def test_a_promised_field_that_exploded_gets_its_limit_or_is_left_to_a_person() -> None:
    text = FILE.replace("note: {}", "note: {type: json}")
    after, word, left = accepted(text, RECORD | {"note": [1] * 5000})
    has_limits = "max_items" in FieldSpec.model_fields
    assert word == "backward"
    assert ("max_items: 5000" in after) == has_limits
    assert bool(left) == (not has_limits)


def test_cells_are_taken_as_what_they_read_as() -> None:
    text = FILE[: FILE.index("    amount:")]
    cells = {"id": "1", "name": "a", "internal": "x"}
    records = [cells | {"n": "5", "d": "2024-01-01", "b": "true", "t": "word", "m": m} for m in ("1", "x")]
    after, _, _ = accepted(text, *records, text_only=True)
    contract = contract_in(after)
    types = {name: contract.type_of(name) for name in "ndbtm"}
    assert types == {"n": "integer", "d": "date", "b": "boolean", "t": "string", "m": "string"}


@pytest.mark.parametrize("path", sorted((PROJECT / "kasparro_pipeline" / "defs").glob("*/defs.yaml")))
def test_a_file_without_changes_stays_byte_for_byte(path: Any) -> None:
    text = path.read_text("utf-8")
    assert changed(text, Proposal()) == text


@pytest.mark.parametrize("text", ["", "a: [", "a: 1\n---\nb: 2\n", "- a\n", "type: x\n", "attributes: 5\n"])
def test_a_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ContractFileError):
        contract_in(text)


def test_a_file_without_a_contract_is_refused() -> None:
    with pytest.raises(ValidationError):
        contract_in("attributes: {kind: thing}\n")


values = (
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.decimals(0, 9, places=2)
    | st.sampled_from(["open", "lost", "2024-01-01", "2024-01-01T10:00Z", "31/01/2024", "word", ""])
    | st.just(1_704_103_200)
    | st.lists(st.integers(0, 1), max_size=1)
    | st.dictionaries(st.sampled_from("yz"), st.integers(0, 1), max_size=2)
)
names = st.sampled_from(
    ["name", "price", "rank", "state", "at", "note", "new", "rankNow", "title", "tags", "a.b"]
)


@given(
    st.lists(
        st.dictionaries(names, values, max_size=6).map(lambda one: {"id": 1, **one}), min_size=1, max_size=5
    )
)
def test_whatever_comes_the_proposed_contract_is_valid_and_fits_or_says_what_it_leaves(
    records: list[dict[str, Any]],
) -> None:
    contract, profile = contract_in(FILE), profile_of(records)
    drifts = compare(contract, profile)
    proposal = propose(contract, profile, drifts)
    after = changed(FILE, proposal)
    new = contract_in(after)
    assert isinstance(new, Contract)
    assert yaml.safe_load(after)["attributes"]["kind"] == "thing"
    left = {(one.change, one.field) for one in compare(new, profile)}
    told = {sentence.split(":")[0] for sentence in proposal.left}
    assert {field for _, field in left} <= told
    assert "# A source that somebody wrote with care" in after
