"""Drift on real runs: each kind of change is told the first time, stays, and clears once it is put right."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml

from kasparro_pipeline.components import CsvSource, RestSource
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.contract.contract_file import changed, contract_in
from kasparro_pipeline.contract.drift import compare
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.proposal import propose
from kasparro_pipeline.stack import cli, contract
from tests.conftest import PROJECT, corpus
from tests.integration.conftest import Pipeline, run_dg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import psycopg

    from kasparro_pipeline.components.component import SourceComponent
    from tests.integration.conftest import Upstream

KINDS = ("added", "removed", "renamed", "retyped", "nullability", "enum", "format", "explosion")
FIELDS: dict[str, Any] = {
    "title": {"path": "name", "required": True},
    "amount": {"path": "price"},
    "rank": {"type": "integer"},
    "state": {"type": "enum", "values": ["open", "closed"]},
    "seen": {"type": "timestamp"},
}


def thing(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"thing {number}",
        "price": number + 0.5,
        "rank": number,
        "state": "open",
        "seen": "2026-11-01T10:00:00Z",
    } | more


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in names}


GOOD = [thing(number) for number in range(1, 11)]
DRIFTED: dict[str, list[dict[str, Any]]] = {
    "added": [*GOOD[:-1], thing(10, colour="red")],
    "removed": [without(one, "name") for one in GOOD],
    "renamed": [without(one, "name") | {"label": one["name"]} for one in GOOD],
    "retyped": [*GOOD[:-1], thing(10, rank="first")],
    "nullability": [*GOOD[:-1], thing(10, name=None)],
    "enum": [*GOOD[:-1], thing(10, state="lost")],
    "format": [thing(one["id"], seen=1_793_527_200 + one["id"]) for one in GOOD],
    "explosion": [*GOOD[:-1], thing(10, by_id={f"k{n}": n for n in range(500)})],
}
EXPECTED = {
    "added": ("colour", "evolve", None, "string", 1, 0.1, "red", "full"),
    "removed": ("name", "freeze", "string", None, 10, 1.0, None, "backward"),
    "renamed": ("name", "freeze", "name", "label", 10, 1.0, "thing 1", "none"),
    "retyped": ("rank", "quarantine_row", "integer", "string", 1, 0.1, "first", "backward"),
    "nullability": ("name", "quarantine_row", "a value", "1 null", 1, 0.1, None, "backward"),
    "enum": ("state", "quarantine_row", "open, closed", "lost", 1, 0.1, "lost", "backward"),
    "format": ("seen", "quarantine_row", "iso_timestamp", "unix", 10, 1.0, "1793527201", "none"),
    "explosion": ("by_id", "evolve", None, "more than 200 different keys", 1, 0.1, "500 keys", "full"),
}


@dataclass
class Deployed:
    """One source named `it`, loaded from a `defs.yaml` as a code location loads it."""

    file: Path
    component: type[SourceComponent]
    database_url: str
    instance: dg.DagsterInstance
    warehouse: psycopg.Connection[Any]

    def write(self, attributes: Mapping[str, Any]) -> None:
        kind = f"kasparro_pipeline.components.{self.component.__name__}"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump({"type": kind, "attributes": dict(attributes)}, sort_keys=False))

    def load(self) -> Pipeline:
        """The code location, loaded anew."""
        attributes = yaml.safe_load(self.file.read_text())["attributes"]
        spec = self.component.spec_class.model_validate(attributes)
        definitions = dg.Definitions.merge(
            self.component(spec).definitions("it", self.file),
            dg.Definitions(
                resources={"warehouse": Warehouse(database_url=self.database_url)},
                executor=dg.in_process_executor,
            ),
        )
        return Pipeline(definitions, self.instance, self.warehouse)


@pytest.fixture
def deployed(
    tmp_path: Path,
    database_url: str,
    instance: dg.DagsterInstance,
    warehouse: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Deployed]:
    """`deployed(component, attributes)`; `kasparro contract` works on the same file and warehouse."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(contract, "DEFS", tmp_path / "defs")

    def write(component: type[SourceComponent], attributes: Mapping[str, Any]) -> Deployed:
        made = Deployed(tmp_path / "defs" / "it" / "defs.yaml", component, database_url, instance, warehouse)
        made.write(attributes)
        return made

    return write


@pytest.fixture
def rest(deployed: Callable[..., Deployed], upstream: Upstream) -> Deployed:
    """A REST source of `things`."""
    return deployed(RestSource, things(upstream.address))


def things(address: str, **more: Any) -> dict[str, Any]:
    http = {"attempts": 2, "backoff": 0.01, "allow_private_hosts": ["127.0.0.1"]}
    parts = {
        "base_url": address,
        "path": "/things",
        "kind": "thing",
        "key": "id",
        "http": http,
        "fields": FIELDS,
    }
    return parts | more


def drift_of(check: dg.AssetCheckEvaluation) -> list[dict[str, Any]]:
    """The table of changes."""
    found = check.metadata["drift"]
    assert isinstance(found, dg.TableMetadataValue)
    return [dict(record.data) for record in found.records]


def text_of(check: dg.AssetCheckEvaluation, name: str) -> str:
    return str(check.metadata[name].value)


@pytest.mark.parametrize("change", KINDS)
def test_each_kind_of_change_is_told_the_first_time_stays_and_clears_when_the_upstream_returns(
    rest: Deployed, upstream: Upstream, change: str
) -> None:
    pipeline = rest.load()
    upstream.answers["/things"] = GOOD
    assert pipeline.run("it").check("schema_drift").passed

    upstream.answers["/things"] = DRIFTED[change]
    run = pipeline.run("it")

    check = run.check("schema_drift")
    [found] = drift_of(check)
    field, mode, expected, came, records, share, example, compatible = EXPECTED[change]
    assert not check.passed
    assert (found["change"], found["field"], found["mode"]) == (change, field, mode)
    assert (found["expected"], found["found"]) == (expected or "", came or "")
    assert (found["records"], found["share"]) == (records, share)
    assert text_of(check, "records") == "10"
    assert text_of(check, "compatibility").startswith(f"{compatible}: ")
    assert text_of(check, "proposed_contract").startswith(
        "```diff\n--- a/kasparro_pipeline/defs/it/defs.yaml"
    )
    assert found["example"] == (example or "")
    if example is not None or change == "nullability":
        payload = pipeline.value("select payload from kasparro.raw_record where id = %s", found["raw_id"])
        assert json.loads(bytes(payload)) in DRIFTED[change]
    assert (found["confidence"] != "") == (change == "renamed")
    frozen = mode == "freeze"
    assert check.severity == (dg.AssetCheckSeverity.ERROR if frozen else dg.AssetCheckSeverity.WARN)
    assert run.success != frozen
    assert (run.ledger["status"] == "failed") == frozen

    again = pipeline.run("it").check("schema_drift")
    assert drift_of(again) == drift_of(check)  # nothing new came; it is red all the same
    upstream.answers["/things"] = [*DRIFTED[change], DRIFTED[change][-1] | {"id": 11}]
    assert [one["change"] for one in drift_of(pipeline.run("it").check("schema_drift"))] == [change]

    upstream.answers["/things"] = [*GOOD, thing(12)]
    run = pipeline.run("it")
    assert run.success
    assert run.check("schema_drift").passed
    assert drift_of(run.check("schema_drift")) == []
    events = pipeline.rows("select distinct change, field from kasparro.drift_event")
    assert events == [{"change": change, "field": field}]
    totals = pipeline.rows("select source, change, events from kasparro.drift_total")
    assert totals == [{"source": "it", "change": change, "events": 3}]


@pytest.mark.parametrize("change", KINDS)
def test_the_accepted_contract_turns_the_check_green_on_the_same_raw_data(
    rest: Deployed, upstream: Upstream, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.answers["/things"] = GOOD
    rest.load().run("it")
    upstream.answers["/things"] = DRIFTED[change]
    rest.load().run("it")
    before = rest.file.read_text()

    assert cli.main(["contract", "accept", "it", "--dry-run"]) == 0
    assert rest.file.read_text() == before
    assert cli.main(["contract", "accept", "it", "--yes"]) == 0

    shown = capsys.readouterr().out
    assert f"Compatibility: {EXPECTED[change][-1]}" in shown
    assert rest.file.read_text() != before
    run = rest.load().run("it")
    assert run.success
    assert run.check("schema_drift").passed
    # the partition holds the records of before too: what the compatibility says of them is true
    reads_old_data = EXPECTED[change][-1] in {"full", "backward"}
    assert run.counts("extracted", "rejected") == (0, 0 if reads_old_data else 10)
    assert len(rest.load().unified("it")) == 10
    assert cli.main(["contract", "show", "it"]) == 0
    assert cli.main(["contract", "accept", "it", "--yes"]) == 1
    assert "There is no drift" in capsys.readouterr().err


def test_a_rename_is_told_from_the_values_that_came_before_it_also_when_it_is_old(
    rest: Deployed, upstream: Upstream
) -> None:
    pipeline = rest.load()
    upstream.answers["/things"] = GOOD
    pipeline.run("it")
    for number in range(25):
        upstream.answers["/things"] = [*DRIFTED["renamed"], {"id": 100 + number, "label": str(number)}]
        check = pipeline.run("it", layers="raw").check("schema_drift")
    renamed = [one for one in drift_of(check) if one["change"] == "renamed"]
    assert [(one["field"], one["found"]) for one in renamed] == [("name", "label")]
    assert renamed[0]["confidence"] >= 0.9


def test_a_rename_is_told_from_its_values_though_another_field_was_gone_from_the_first_day(
    deployed: Callable[..., Deployed], upstream: Upstream
) -> None:
    never: dict[str, Any] = {"note": {}}
    pipeline = deployed(RestSource, things(upstream.address, fields=FIELDS | never)).load()
    for names in ("another", "thing"):
        upstream.answers["/things"] = [thing(number, name=f"{names} {number}") for number in range(1, 11)]
        [gone] = drift_of(pipeline.run("it", layers="raw").check("schema_drift"))
        assert (gone["change"], gone["field"]) == ("removed", "note")
    upstream.answers["/things"] = DRIFTED["renamed"]

    found = drift_of(pipeline.run("it", layers="raw").check("schema_drift"))

    assert [(one["change"], one["field"], one["found"]) for one in found] == [
        ("removed", "note", ""),
        ("renamed", "name", "label"),
    ]


def test_a_drift_in_a_window_that_has_moved_on_is_over(
    deployed: Callable[..., Deployed], upstream: Upstream
) -> None:
    today = datetime.now(UTC).date()
    window = {"start_param": "start", "end_param": "end", "cursor": "seen"}
    paginator = {"type": "page_number", "page_param": "page", "max_pages": 5}
    attributes = things(upstream.address, date_window=window, paginator=paginator)
    pipeline = deployed(RestSource, attributes).load()

    def answer(*pages: list[dict[str, Any]]) -> None:
        upstream.answers["/things"] = lambda query, _headers: (
            200,
            {"Content-Type": "application/json"},
            json.dumps(dict(enumerate(pages, 1)).get(int(query["page"]), [])).encode(),
        )

    one, two = (thing(number, seen=f"{today - timedelta(days=2)}T00:00:00Z") for number in (1, 2))
    answer([without(one, "name")], [two])
    assert pipeline.run("it").check("schema_drift").passed is False
    answer([one], [without(two, "name")])
    run = pipeline.run("it")
    assert upstream.requests[-1] != upstream.requests[0]
    assert not run.check("schema_drift").passed
    # the first page came as before, so only the second is news: both are looked at
    answer([one], [two, two | {"id": 3, "name": None}])
    check = pipeline.run("it").check("schema_drift")
    assert text_of(check, "records") == "3"
    answer([one], [two])
    run = pipeline.run("it")
    assert run.success
    assert run.check("schema_drift").passed


def test_a_drift_on_one_page_of_several_is_told_with_the_record_that_shows_it(
    deployed: Callable[..., Deployed], upstream: Upstream
) -> None:
    pages = {"1": GOOD[:5], "2": DRIFTED["enum"][5:]}
    upstream.answers["/things"] = lambda query, _headers: (
        200,
        {"Content-Type": "application/json"},
        json.dumps(pages.get(query["page"], [])).encode(),
    )
    paginator = {"type": "page_number", "page_param": "page", "max_pages": 5}
    pipeline = deployed(RestSource, things(upstream.address, paginator=paginator)).load()

    check = pipeline.run("it").check("schema_drift")

    [found] = drift_of(check)
    assert (found["change"], found["records"], found["share"]) == ("enum", 1, 0.1)
    payload = pipeline.value("select payload from kasparro.raw_record where id = %s", found["raw_id"])
    assert json.loads(bytes(payload)) == DRIFTED["enum"][9]


def paged(
    deployed: Callable[..., Deployed], upstream: Upstream, pages: list[list[dict[str, Any]]]
) -> Pipeline:
    """A source of numbered pages, which come at once."""

    def answer(query: dict[str, str], _headers: object) -> tuple[int, dict[str, str], bytes]:
        page = int(query["page"])
        body = {"data": pages[page - 1], "pages": len(pages)}
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    upstream.answers["/things"] = answer
    paginator = {"type": "page_number", "total_pages_path": "pages"}
    return deployed(RestSource, things(upstream.address, paginator=paginator, records="data")).load()


def profiles(pipeline: Pipeline) -> list[tuple[int, int]]:
    """Of each document with a profile, the records of that, and how many documents before it share it."""
    return [
        (int(row["profile"]["records"]), int(row["id"] - row["profiled_from"]))
        for row in pipeline.rows(
            "select id, profile, profiled_from from kasparro.document where profile is not null order by id"
        )
    ]


def test_small_pages_that_come_together_share_one_profile_which_leads_to_the_record(
    deployed: Callable[..., Deployed], upstream: Upstream
) -> None:
    pipeline = paged(deployed, upstream, [GOOD[:4], GOOD[4:8], DRIFTED["enum"][8:]])
    check = pipeline.run("it").check("schema_drift")

    assert profiles(pipeline)[-1][1] > 0  # the first page comes by itself
    assert sum(records for records, _ in profiles(pipeline)) == 10
    [found] = drift_of(check)
    assert (found["change"], found["records"], found["share"]) == ("enum", 1, 0.1)
    payload = pipeline.value("select payload from kasparro.raw_record where id = %s", found["raw_id"])
    assert json.loads(bytes(payload)) == DRIFTED["enum"][9]


def test_a_page_that_changes_takes_nothing_of_the_others_that_shared_its_profile(
    deployed: Callable[..., Deployed], upstream: Upstream
) -> None:
    pages = [GOOD[:3], GOOD[3:6], DRIFTED["enum"][6:]]
    pipeline = paged(deployed, upstream, pages)
    assert not pipeline.run("it").check("schema_drift").passed

    pages[1] = [thing(number, rank=number + 1) for number in range(4, 7)]
    still = pipeline.run("it").check("schema_drift")
    [found] = drift_of(still)
    assert (found["change"], found["records"], found["share"]) == ("enum", 1, 0.1)
    payload = pipeline.value("select payload from kasparro.raw_record where id = %s", found["raw_id"])
    assert json.loads(bytes(payload)) == DRIFTED["enum"][9]

    pages[2] = GOOD[6:]
    over = pipeline.run("it").check("schema_drift")
    assert over.passed
    assert over.metadata["records"].value == 10
    before = pipeline.everything()
    assert pipeline.run("it").check("schema_drift").passed
    assert pipeline.everything() == before


@pytest.fixture
def files(deployed: Callable[..., Deployed], folder: Path) -> Deployed:
    """A CSV source whose partitions are files."""
    fields = {"title": {"path": "name", "required": True}, "rank": {"type": "integer"}}
    attributes = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": fields}
    return deployed(CsvSource, attributes)


def write_csv(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def test_a_backfill_of_an_old_partition_judges_that_partition_and_leaves_the_verdict_on_the_newest(
    files: Deployed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = files.load()
    old, new = "things-2026-11-01.csv", "things-2026-11-08.csv"
    write_csv(folder, old, "id,name,rank\n1,a,1\n2,b,2\n")
    write_csv(folder, new, "id,name,rank\n1,a,first\n2,b,second\n")
    pipeline.add_files("it", old, new)
    assert pipeline.run("it", old).check("schema_drift").passed
    assert not pipeline.run("it", new).check("schema_drift").passed

    assert pipeline.run("it", old).check("schema_drift").passed
    assert not pipeline.run("it", new).check("schema_drift").passed
    assert cli.main(["contract", "accept", "it", "--dry-run"]) == 0
    assert f"partition {new}: 1 change" in capsys.readouterr().out


def test_the_drift_of_an_old_partition_is_accepted_only_by_its_name(
    files: Deployed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = files.load()
    old, new = "things-2026-11-01.csv", "things-2026-11-08.csv"
    write_csv(folder, old, "id,name,rank,colour\n1,a,1,red\n")
    write_csv(folder, new, "id,name,rank\n1,a,1\n")
    pipeline.add_files("it", old, new)
    for name in (old, new):
        pipeline.run("it", name)

    assert cli.main(["contract", "accept", "it", "--yes"]) == 1
    assert f"There is drift in {old}" in capsys.readouterr().err
    assert cli.main(["contract", "accept", "it", "--yes", "--partition", old]) == 0
    assert "colour" in files.file.read_text()


def test_every_cell_of_a_file_counts_and_not_a_sample(files: Deployed, folder: Path) -> None:
    rows = [f"{n},name {n},{'n/a' if n % 1000 == 999 else n}" for n in range(45_000)]
    write_csv(folder, "things.csv", "\n".join(["id,name,rank", *rows]) + "\n")
    pipeline = files.load()
    pipeline.add_files("it", "things.csv")

    [found] = drift_of(pipeline.run("it", "things.csv").check("schema_drift"))

    assert (found["change"], found["field"], found["records"], found["share"]) == (
        "retyped",
        "rank",
        45,
        0.001,
    )
    payload = pipeline.value("select payload from kasparro.raw_record where id = %s", found["raw_id"])
    assert bytes(payload) == b"999,name 999,n/a\n"


def test_a_list_of_one_provider_against_the_contract_of_another_says_what_it_lacks(
    deployed: Callable[..., Deployed], upstream: Upstream
) -> None:
    paprika = corpus("coins/coinpaprika_coins_2021.json").read_bytes()
    gecko = corpus("coins/coingecko_coins_list_2021-05-15.json").read_bytes()
    fields = {
        "title": {"path": "name", "required": True},
        "category": {"path": "type", "required": True},
        "symbol": {"required": True},
        "rank": {"type": "integer", "required": True},
        "is_new": {"type": "boolean", "required": True},
        "is_active": {"type": "boolean", "required": True},
    }
    source = deployed(RestSource, things(upstream.address, fields=fields))
    upstream.answers["/things"] = paprika
    assert source.load().run("it", layers="raw").check("schema_drift").passed

    upstream.answers["/things"] = gecko
    run = source.load().run("it")

    check = run.check("schema_drift")
    gone = [(one["change"], one["field"], one["records"], one["share"]) for one in drift_of(check)]
    assert gone == [("removed", name, 7248, 1.0) for name in ("is_active", "is_new", "rank", "type")]
    assert not run.success
    assert text_of(check, "compatibility").startswith("backward")
    assert cli.main(["contract", "accept", "it", "--yes"]) == 0
    run = source.load().run("it")
    assert run.check("schema_drift").passed
    assert run.success
    assert set(yaml.safe_load(source.file.read_text())["attributes"]["fields"]) == {"title", "symbol"}


def test_a_proposal_is_refused_once_the_file_is_another(
    rest: Deployed, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.answers["/things"] = DRIFTED["added"]
    rest.load().run("it")
    rest.file.write_text(rest.file.read_text() + "# a word\n")

    assert cli.main(["contract", "accept", "it", "--yes"]) == 1
    assert "has changed since" in capsys.readouterr().err
    assert "colour" not in rest.file.read_text()


def test_a_file_that_is_not_what_was_loaded_gets_no_proposal(
    rest: Deployed, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.answers["/things"] = DRIFTED["added"]
    loaded = rest.load()
    rest.write(things(upstream.address, fields={"title": {"path": "name"}}))

    check = loaded.run("it").check("schema_drift")

    assert "reload the code location" in text_of(check, "proposed_contract")
    assert cli.main(["contract", "accept", "it"]) == 1
    assert "reload the code location" in capsys.readouterr().err


def test_the_command_names_what_it_does_not_find(rest: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    assert rest.file.exists()
    assert cli.main(["contract", "accept", "itt"]) == 1
    assert "Did you mean it?" in capsys.readouterr().err
    assert cli.main(["contract", "accept", "it"]) == 1
    assert "has not run yet" in capsys.readouterr().err
    assert cli.main(["contract", "show", "it"]) == 1
    assert "No run of a source 'it'" in capsys.readouterr().err


def test_without_a_yes_nothing_is_written(
    rest: Deployed, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.answers["/things"] = DRIFTED["added"]
    rest.load().run("it")
    before = rest.file.read_text()
    for answer, status in (("", 1), ("n", 1), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda _prompt, answer=answer: answer)
        assert cli.main(["contract", "accept", "it"]) == status
        assert (rest.file.read_text() != before) == (answer == "y")


def test_the_versions_of_a_contract_are_listed_with_what_changed(
    rest: Deployed, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.answers["/things"] = DRIFTED["added"]
    rest.load().run("it")
    cli.main(["contract", "accept", "it", "--yes"])
    rest.load().run("it")
    capsys.readouterr()

    assert cli.main(["contract", "show", "it"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "1", "2"]
    assert lines[1].endswith("5: amount, rank, seen, state, title")
    assert lines[2].endswith("+colour")


def test_dagster_finds_an_accepted_file_right(tmp_path: Path) -> None:
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "stack")
    shutil.copytree(PROJECT / "kasparro_pipeline", project / "kasparro_pipeline", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", project)
    file = project / "kasparro_pipeline" / "defs" / "coinpaprika_tickers" / "defs.yaml"
    record = json.loads(corpus("coins/coinpaprika_ticker_btc.json").read_text())
    profile = Profile()
    profile.observe([without(record, "rank") | {"market_rank": 1, "max_supply": "none", "new": True}], [0])
    promised = contract_in(file.read_text())
    proposal = propose(promised, profile, compare(promised, profile))
    assert len(proposal.fields) == 3
    file.write_text(changed(file.read_text(), proposal))

    checked = run_dg(project, "check", "yaml", "kasparro_pipeline/defs/coinpaprika_tickers")
    loaded = run_dg(project, "check", "defs")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
