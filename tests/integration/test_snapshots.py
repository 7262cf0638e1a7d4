"""Snapshots through Dagster: what is gone is deleted, exactly that, and never for a reason that is none."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pytest
import yaml
from pydantic import ValidationError

from kasparro_pipeline.components import CsvSource, FeedSource, RestSource
from kasparro_pipeline.warehouse import checkpoints
from tests.integration.conftest import Run, today
from tests.integration.test_crashes import START_LIMIT, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.integration.conftest import Pipeline, Upstream

FIELDS = {"title": {"path": "name", "required": True}, "amount": {}}
THINGS = range(1, 41)


def write(path: Path, ids: Iterable[object], *, name: str = "x", text: str | None = None) -> None:
    """A file of `{id, name, amount}`, older than the time in which it could still grow."""
    lines = "".join(f"{number},{name} {number},1\n" for number in ids)
    path.write_text(f"id,name,amount\n{lines}" if text is None else text, newline="")
    old = time.time() - 60
    os.utime(path, (old, old))


@pytest.fixture
def files(folder: Path, pipeline_of: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """A snapshot source of CSV files, with the partitions `a.csv` and `b.csv`."""

    def build(**more: Any) -> Pipeline:
        attributes = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": FIELDS}
        made = pipeline_of(CsvSource, attributes | {"mode": "snapshot"} | more)
        made.add_files("it", "a.csv", "b.csv")
        return made

    return build


def living(pipeline: Pipeline) -> set[str]:
    return {key for key, row in pipeline.unified("it").items() if row["deleted_at"] is None}


def keys(ids: Iterable[object]) -> set[str]:
    return set(map(str, ids))


def accept(pipeline: Pipeline, partition: str, tag: str = "true", layers: str = "unified") -> Run:
    result = pipeline.definitions.resolve_job_def("it").execute_in_process(
        partition_key=partition,
        instance=pipeline.instance,
        asset_selection=[dg.AssetKey([layer, "it"]) for layer in layers.split()],
        raise_on_error=False,
        tags={"kasparro/accept_deletions": tag},
    )
    return Run(result, pipeline.one("select * from kasparro.etl_run where run_id = %s", result.run_id))


def rest(upstream: Upstream, **more: Any) -> dict[str, Any]:
    paginator = {"type": "page_number", "total_path": "total"}
    attributes = {"base_url": upstream.address, "path": "/things", "records": "data", "mode": "snapshot"}
    return attributes | {"paginator": paginator, "kind": "thing", "key": "id", "fields": FIELDS} | more


def serve(upstream: Upstream, ids: Iterable[int], *, size: int = 10, total: int | None = None) -> None:
    """The records in numbered pages, with their number."""
    found = [{"id": number, "name": f"x {number}", "amount": 1} for number in ids]

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        first = (int(query["page"]) - 1) * size
        return {"data": found[first : first + size], "total": len(found) if total is None else total}

    upstream.answers["/things"] = page


def wait_until_blocked(pipeline: Pipeline) -> None:
    deadline = time.monotonic() + START_LIMIT
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like %s"
    while not pipeline.value(waiting, "%with living as%"):
        assert time.monotonic() < deadline, "the run does not come to its deletions"
        time.sleep(0.05)


def test_fault_48_rows_that_are_removed_from_a_file_are_deleted_exactly_those(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    assert pipeline.run("it", "a.csv").counts("inserted", "deleted") == (40, 0)
    before = pipeline.unified("it")

    write(folder / "a.csv", [*range(1, 38), 41])
    run = pipeline.run("it", "a.csv")

    assert run.counts("inserted", "updated", "unchanged", "deleted") == (1, 0, 37, 3)
    assert living(pipeline) == keys([*range(1, 38), 41])
    after = pipeline.unified("it")
    assert {key: after[key] for key in keys(range(1, 38))} == {key: before[key] for key in keys(range(1, 38))}
    gone = after["40"]
    assert (gone["title"], gone["raw_id"]) == (before["40"]["title"], before["40"]["raw_id"])
    assert gone["run_id"] == run.result.run_id
    check = run.check("snapshot_deletions")
    assert check.passed
    assert check.description == "3 of 40 records are gone, and marked deleted"


def test_the_example_of_the_documentation_does_what_it_says(
    folder: Path, pipeline_of: Callable[..., Pipeline], request: pytest.FixtureRequest
) -> None:
    page = (request.config.rootpath / "docs/snapshots.md").read_text()
    blocks = re.findall(r"```(yaml|csv)\n(.*?)```", page, re.DOTALL)
    [spec] = [yaml.safe_load(text) for kind, text in blocks if kind == "yaml"]
    assert spec["type"] == "kasparro_pipeline.components.CsvSource"
    pipeline = pipeline_of(CsvSource, spec["attributes"] | {"files": f"{folder}/*.csv"})
    pipeline.add_files("it", "shop.csv")
    monday, tuesday = (text for kind, text in blocks if kind == "csv")

    for text, alive, counts in (
        (monday, {"1", "2", "3"}, (3, 0, 0, 0)),
        (tuesday, {"1", "3"}, (0, 1, 1, 1)),
        (monday, {"1", "2", "3"}, (0, 2, 2, 0)),
    ):
        write(folder / "shop.csv", (), text=text)
        run = pipeline.run("it", "shop.csv")
        assert run.counts("inserted", "updated", "unchanged", "deleted") == counts
        assert living(pipeline) == alive
        assert run.check("snapshot_deletions").passed


def test_fault_48_in_append_mode_rows_that_are_removed_stay(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    attributes = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": FIELDS}
    pipeline = pipeline_of(CsvSource, attributes)
    pipeline.add_files("it", "a.csv")
    for ids in (THINGS, range(1, 38)):
        write(folder / "a.csv", ids)
        run = pipeline.run("it", "a.csv")
    assert run.counts("unchanged", "deleted") == (37, 0)
    assert living(pipeline) == keys(THINGS)
    assert "snapshot_deletions" not in run.checks
    assert pipeline.value("select count(*) from kasparro.snapshot") == 0


def test_fault_48_the_same_bytes_again_write_nothing(files: Callable[..., Pipeline], folder: Path) -> None:
    pipeline = files()
    for ids in (THINGS, range(1, 38)):
        write(folder / "a.csv", ids)
        pipeline.run("it", "a.csv")
    before = pipeline.everything(), pipeline.rows("select * from kasparro.snapshot")

    for layers in ("", "unified"):
        assert pipeline.run("it", "a.csv", layers=layers).counts("deleted", "updated") == (0, 0)
        assert (pipeline.everything(), pipeline.rows("select * from kasparro.snapshot")) == before
    pipeline.run("it", "a.csv", layers="validated unified")
    assert pipeline.everything()["unified_record"] == before[0]["unified_record"]


def test_a_record_that_comes_back_lives_again_with_the_same_content_or_an_older_version(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files(version={"path": "amount", "type": "number"})
    text = "id,name,amount\n" + "".join(f"{number},x,5\n" for number in THINGS)
    write(folder / "a.csv", (), text=text)
    pipeline.run("it", "a.csv")
    write(folder / "a.csv", (), text=text.replace("39,x,5\n40,x,5\n", ""))
    assert pipeline.run("it", "a.csv").ledger["deleted"] == 2

    write(folder / "a.csv", (), text=text.replace("40,x,5\n", "40,older,1\n"))
    run = pipeline.run("it", "a.csv")

    assert run.counts("inserted", "updated", "deleted") == (0, 2, 0)
    assert living(pipeline) == keys(THINGS)
    assert pipeline.unified("it")["40"]["title"] == "x"  # the higher version stays (P3)


def test_each_file_is_a_snapshot_and_a_row_lives_as_long_as_one_file_has_it(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    write(folder / "b.csv", range(39, 60))
    for name in ("a.csv", "b.csv"):
        pipeline.run("it", name)

    write(folder / "a.csv", range(1, 38))
    assert pipeline.run("it", "a.csv").ledger["deleted"] == 1
    assert living(pipeline) == keys([*range(1, 38), *range(39, 60)])
    write(folder / "b.csv", range(40, 60))
    assert pipeline.run("it", "b.csv").ledger["deleted"] == 1
    assert living(pipeline) == keys([*range(1, 38), *range(40, 60)])


def test_a_row_that_is_there_and_rejected_is_not_deleted(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    pipeline.run("it", "a.csv")
    rows = "".join(f"{number},x {number},1\n" for number in range(1, 39))
    write(folder / "a.csv", (), text=f"id,name,amount\n{rows}39,,1\n")

    run = pipeline.run("it", "a.csv")

    assert run.counts("rejected", "deleted") == (1, 1)
    assert living(pipeline) == keys(range(1, 40))
    assert pipeline.unified("it")["39"]["title"] == "x 39"


def test_a_rejected_row_without_a_readable_key_lets_nothing_be_deleted_whatever_a_person_says(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    pipeline.run("it", "a.csv")
    rows = "".join(f"{number},x {number},1\n" for number in range(1, 39))
    write(folder / "a.csv", (), text=f"id,name,amount\n{rows},x 39,1\n")

    for run in (pipeline.run("it", "a.csv"), accept(pipeline, "a.csv")):
        check = run.check("snapshot_deletions")
        assert not check.passed
        assert "the keys of 1 rejected records of it cannot be read" in (check.description or "")
        assert living(pipeline) == keys(THINGS)


@pytest.mark.parametrize("mistake", ["too long", "blank"])
def test_fault_43_ids_that_cannot_be_keys_are_rejected_and_nothing_is_deleted(
    mistake: str, files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    pipeline.run("it", "a.csv")
    write(folder / "a.csv", [*range(1, 40), {"too long": "4" * 513, "blank": " "}[mistake]])

    run = pipeline.run("it", "a.csv")

    assert run.counts("rejected", "deleted") == (1, 0)
    assert living(pipeline) == keys(THINGS)


def test_fault_43_ids_that_look_alike_are_not_merged_and_are_deleted_one_by_one(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    alike = ["a", "A", " a", "a ", "\u00e9", "e\u0301", "K", "\u212a", "1", "01"]
    pipeline = files()
    write(folder / "a.csv", alike)
    pipeline.run("it", "a.csv")
    assert living(pipeline) == set(alike)

    write(folder / "a.csv", alike[1::2])
    assert pipeline.run("it", "a.csv").ledger["deleted"] == 5
    assert living(pipeline) == set(alike[1::2])


@pytest.mark.parametrize("cut", ["on a row boundary", "in a row", "behind the last cell", "to the header"])
def test_fault_47_a_file_that_is_cut_off_deletes_nothing(
    cut: str, files: Callable[..., Pipeline], folder: Path
) -> None:
    # Only the end of the file tells: many may go
    pipeline = files(max_deleted_share=1)
    write(folder / "a.csv", THINGS)
    whole = (folder / "a.csv").read_text()
    pipeline.run("it", "a.csv")
    places = {
        "on a row boundary": whole.index("31,"),
        "in a row": whole.index("39,") + 2,
        "behind the last cell": whole.index("\n39,"),
        "to the header": whole.index("1,x 1,"),
    }
    write(folder / "a.csv", (), text=whole[: places[cut]])

    run = pipeline.run("it", "a.csv")

    assert run.success
    assert run.ledger["deleted"] == 0
    assert living(pipeline) == keys(THINGS)
    assert not run.check("snapshot_deletions").passed
    write(folder / "a.csv", (), text=whole)
    assert pipeline.run("it", "a.csv").check("snapshot_deletions").passed


def test_a_file_that_never_ends_with_a_line_break_may_say_so(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files(ends_with_line_break=False)
    for ids in (THINGS, range(1, 40)):
        write(folder / "a.csv", ids)
        write(folder / "a.csv", (), text=(folder / "a.csv").read_text().rstrip("\n"))
        run = pipeline.run("it", "a.csv")
    assert run.ledger["deleted"] == 1
    assert living(pipeline) == keys(range(1, 40))


def test_more_than_max_deleted_share_deletes_nothing_until_a_person_accepts_it(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files(min_rows_share=0)
    write(folder / "a.csv", THINGS)
    pipeline.run("it", "a.csv")
    write(folder / "a.csv", [*range(1, 31), 41])

    for run in (pipeline.run("it", "a.csv"), pipeline.run("it", "a.csv")):
        assert run.success
        check = run.check("snapshot_deletions")
        assert not check.passed
        assert check.severity == dg.AssetCheckSeverity.ERROR
        assert check.description == (
            "nothing is deleted: 10 of 40 records are missing in it, and max_deleted_share, 0.2, allows 8."
            " 10 of 40 records are missing in this snapshot. If they are really gone, materialize unified/it"
            ' of this partition with the run tag kasparro/accept_deletions: "true"; else have the upstream'
            " deliver again."
        )
    assert living(pipeline) == keys([*THINGS, 41])

    wrong = accept(pipeline, "a.csv", "yes")
    assert not wrong.success
    assert 'write "true", or leave it out' in wrong.failure
    run = accept(pipeline, "a.csv")
    assert run.ledger["deleted"] == 10
    assert run.check("snapshot_deletions").passed
    assert living(pipeline) == keys([*range(1, 31), 41])
    # once: the next one is judged again
    write(folder / "a.csv", range(1, 21))
    assert not pipeline.run("it", "a.csv").check("snapshot_deletions").passed


def test_a_refused_snapshot_does_not_become_the_measure_of_the_next_one(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    for ids in (THINGS, range(1, 21), range(1, 20)):
        write(folder / "a.csv", ids)
        run = pipeline.run("it", "a.csv")
    assert not run.check("snapshot_deletions").passed
    assert living(pipeline) == keys(THINGS)


def test_in_a_small_table_five_may_go_at_once(files: Callable[..., Pipeline], folder: Path) -> None:
    pipeline = files()
    for ids, left in ((range(1, 7), 6), ([1], 1), ([2], 1), ([], 1)):
        write(folder / "a.csv", ids)
        run = pipeline.run("it", "a.csv")
        assert len(living(pipeline)) == left
    assert "it holds no record, after 1 before" in (run.check("snapshot_deletions").description or "")


def test_fault_51_every_record_invalid_changes_nothing_in_unified(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    pipeline.run("it", "a.csv")
    before = pipeline.rows("select ctid::text, xmin::text, u.* from kasparro.unified_record u order by id")

    write(folder / "a.csv", (), text="id,name,amount\n" + "".join(f"{n},,1\n" for n in THINGS))
    run = pipeline.run("it", "a.csv")

    after = pipeline.rows("select ctid::text, xmin::text, u.* from kasparro.unified_record u order by id")
    assert after == before
    assert run.counts("rejected", "validated", "deleted") == (40, 0, 0)
    assert not run.check("rejected_share").passed


def test_a_backfill_of_an_older_file_version_brings_nothing_back(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    """All documents of the partition are taken up again, also under a changed contract."""
    pipeline = files()
    for ids in (THINGS, range(1, 38), range(3, 38)):
        write(folder / "a.csv", ids)
        pipeline.run("it", "a.csv")
    changed = files(fields=FIELDS | {"title": {"path": "name"}})
    for layers in ("unified", "validated unified"):
        changed.run("it", "a.csv", layers=layers)
        assert living(changed) == keys(range(3, 38))


def test_a_rejected_record_of_an_older_snapshot_that_is_replayed_does_not_live(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    text = "id,name,amount\n" + "".join(f"{n},{'x' if n < 39 else ''},1\n" for n in THINGS)
    write(folder / "a.csv", (), text=text)
    pipeline.run("it", "a.csv")
    write(folder / "a.csv", (), text=text.replace("40,,1\n", ""))
    pipeline.run("it", "a.csv")
    assert living(pipeline) == keys(range(1, 39))

    lenient = files(fields=FIELDS | {"title": {"path": "name"}})
    result = lenient.definitions.resolve_job_def("replay_rejected_it").execute_in_process(
        instance=lenient.instance
    )
    assert result.success
    assert living(lenient) == keys(range(1, 40))
    assert lenient.unified("it")["40"]["deleted_at"] is not None


def test_a_rest_walk_deletes_what_no_page_has_also_if_a_page_is_gone_altogether(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    pipeline = pipeline_of(RestSource, rest(upstream, max_deleted_share=0.5, min_rows_share=0.5))
    for ids, deleted, updated in ((THINGS, 0, 0), (range(1, 31), 10, 0), (THINGS, 0, 10)):
        serve(upstream, ids)
        run = pipeline.run("it")
        assert run.success
        assert run.counts("deleted", "updated") == (deleted, updated)
        assert living(pipeline) == keys(ids)
        assert run.check("snapshot_deletions").passed
    before = pipeline.everything(), pipeline.rows("select * from kasparro.snapshot")
    assert pipeline.run("it").counts("documents", "deleted", "updated") == (0, 0, 0)
    assert (pipeline.everything(), pipeline.rows("select * from kasparro.snapshot")) == before


def test_a_rest_walk_that_does_not_match_the_total_it_was_told_deletes_nothing(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    pipeline = pipeline_of(RestSource, rest(upstream))
    serve(upstream, THINGS)
    pipeline.run("it")
    serve(upstream, range(1, 38), total=40)

    run = pipeline.run("it")

    assert run.success
    assert living(pipeline) == keys(THINGS)
    assert "37 records came of 40" in (run.check("snapshot_deletions").description or "")


def test_a_rest_walk_with_an_answer_that_an_error_rule_ignores_deletes_nothing(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    for name in "ab":
        upstream.answers[f"/things/{name}"] = [
            {"id": f"{name}{n}", "name": "x", "amount": 1} for n in range(3)
        ]
    more = {"path": "/things/{name}", "for_each": {"param": "name", "values": ["a", "b"]}}
    rules = [{"status": [404], "action": "ignore"}]
    pipeline = pipeline_of(
        RestSource, rest(upstream, **more, records="", paginator={"type": "single_page"}, error_rules=rules)
    )
    pipeline.run("it")
    assert len(living(pipeline)) == 6
    del upstream.answers["/things/b"]

    run = pipeline.run("it")

    assert run.success
    assert len(living(pipeline)) == 6
    assert "gave nothing" in (run.check("snapshot_deletions").description or "")


def test_a_rest_walk_that_fails_midway_deletes_nothing_and_the_next_one_begins_anew(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    pipeline = pipeline_of(RestSource, rest(upstream, http={"attempts": 1}))
    serve(upstream, THINGS)
    pipeline.run("it")
    serve(upstream, range(1, 37))
    page = upstream.answers["/things"]
    upstream.answers["/things"] = lambda query, headers: (
        (400, {}, b"no") if query["page"] == "3" else page(query, headers)
    )
    assert not pipeline.run("it").success
    pipeline.run("it", layers="validated unified")
    assert living(pipeline) == keys(THINGS)

    upstream.answers["/things"] = page
    upstream.requests.clear()
    run = pipeline.run("it")
    assert upstream.requests[0].endswith("page=1")
    assert run.ledger["deleted"] == 4
    assert living(pipeline) == keys(range(1, 37))


def test_a_rest_walk_that_was_killed_begins_anew_as_pages_may_have_changed(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    http = {"allow_private_hosts": ["127.0.0.1"], "concurrency": 1}
    attributes = rest(upstream, http=http)
    pipeline = pipeline_of(RestSource, attributes)
    serve(upstream, THINGS)
    pipeline.run("it")
    serve(upstream, [*range(2, 41), 41])
    page = upstream.answers["/things"]
    children: list[subprocess.Popen[bytes]] = []

    def deadly(query: dict[str, str], headers: dict[str, str]) -> Any:
        if query["page"] == "3" and children:
            os.kill(children.pop().pid, signal.SIGKILL)
        return page(query, headers)

    upstream.answers["/things"] = deadly
    child = start("RestSource", attributes, database_url, today())
    children.append(child)
    assert child.wait(START_LIMIT) == -signal.SIGKILL
    assert pipeline.value("select cursor from kasparro.checkpoint where partition_key <> ''")["page"][0] == 3
    serve(upstream, [*range(2, 40), 41])
    upstream.requests.clear()

    run = pipeline.run("it")

    assert upstream.requests[0].endswith("page=1")
    assert run.ledger["deleted"] == 2
    assert living(pipeline) == keys([*range(2, 40), 41])


def test_a_run_that_is_killed_between_its_merge_and_its_deletions_is_made_good_by_the_next(
    files: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    pipeline = files()
    write(folder / "a.csv", THINGS)
    pipeline.run("it", "a.csv")
    write(folder / "a.csv", [*range(1, 38), 41])
    attributes = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": FIELDS}
    with psycopg.connect(database_url) as blocking:
        # the child merges, and then waits to mark this one deleted
        blocking.execute("select from kasparro.unified_record where source_id = '40' for update")
        child = start("CsvSource", attributes | {"mode": "snapshot"}, database_url, "a.csv")
        wait_until_blocked(pipeline)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(START_LIMIT) == -signal.SIGKILL
        blocking.rollback()

    assert living(pipeline) == keys(THINGS)
    assert pipeline.value("select count(*) from kasparro.snapshot where verdict is null") == 1
    run = pipeline.run("it", "a.csv")
    assert run.counts("inserted", "deleted") == (1, 3)
    assert living(pipeline) == keys([*range(1, 38), 41])


def test_a_snapshot_without_a_row_that_no_run_has_judged_is_waiting_to_be_taken_up(
    files: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = files()
    write(folder / "a.csv", [1, 2])
    pipeline.run("it", "a.csv")
    assert checkpoints.pending(pipeline.warehouse, "it") == []

    write(folder / "a.csv", [])
    pipeline.run("it", "a.csv", layers="raw")  # as if it had died behind that
    assert checkpoints.pending(pipeline.warehouse, "it") == ["a.csv"]
    pipeline.run("it", "a.csv")
    assert checkpoints.pending(pipeline.warehouse, "it") == []


def test_a_mode_that_contradicts_the_requests_is_refused_when_it_is_read(upstream: Upstream) -> None:
    incremental = {"param": "since", "cursor": "changed"}
    window = {"start_param": "a", "end_param": "b", "cursor": "day"}
    first_pages = {"type": "page_number", "beyond_max_pages": "stop"}
    for more, said in (
        ({"incremental": incremental}, "`incremental` asks for a part of the records alone"),
        ({"date_window": window}, "`date_window` asks for a part of the records alone"),
        ({"paginator": first_pages}, "`beyond_max_pages: stop` leaves the pages behind `max_pages` out"),
        ({"mode": "append", "min_rows_share": 0.5}, "`min_rows_share` is for `mode: snapshot`"),
    ):
        with pytest.raises(ValidationError) as refused:
            RestSource.spec_class.model_validate(rest(upstream, **more))
        assert said in str(refused.value)
    with pytest.raises(ValidationError, match="unknown key"):
        FeedSource.spec_class.model_validate({"mode": "snapshot"})


def test_snapshots_of_two_days_end_at_the_newest_in_whatever_order_they_are_merged(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    pipeline = pipeline_of(RestSource, rest(upstream))
    serve(upstream, THINGS)
    pipeline.run("it")
    serve(upstream, range(1, 38))
    pipeline.run("it")
    pipeline.run("it", today(), layers="validated unified")
    assert living(pipeline) == keys(range(1, 38))
