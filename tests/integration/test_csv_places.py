"""CSV files in an object store and at an HTTP address: a real S3 server, a real HTTP server."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import boto3
import dagster as dg
import obstore
import pytest

from kasparro_pipeline.components import CsvSource
from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_places import place_of
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.documents import Request, sha256
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from tests.integration.test_automation import tick
from tests.integration.test_csv_sources import documented

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Pipeline, Upstream

ID, SECRET = "AKIAKASPARROTEST", "s3cr3t/of+the/test"
FIELDS = {"title": {"path": "name", "required": True}}
STORE_KEYS = {"access_key_id_env": "IT_KEY_ID", "secret_access_key_env": "IT_SECRET"}
HTTP = {"allow_private_hosts": ["127.0.0.1"], "attempts": 1}
PAGE = 20
"""Objects of one answer to a listing."""
TODAY = Request(date(2026, 1, 1))


@pytest.fixture(scope="module")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks S3, as a process of its own."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    with log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        settings = {"PATH": os.environ["PATH"], "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=settings)
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert server.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()


class Objects:
    """A bucket of the server."""

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name
        self._client = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)

    def close(self) -> None:
        self._client.close()

    def spec(self, keys: str, **more: Any) -> dict[str, Any]:
        store = {"endpoint": self.address, **STORE_KEYS}
        return {"files": f"s3://{self.name}/{keys}", "store": store, "http": HTTP} | more


@pytest.fixture
def bucket(
    s3_address: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Objects]:
    """A bucket of the test's own, whose secrets are in the environment."""
    monkeypatch.setenv("IT_KEY_ID", ID)
    monkeypatch.setenv("IT_SECRET", SECRET + "\n")
    objects = Objects(s3_address, f"bucket-{abs(hash(request.node.name))}")
    yield objects
    objects.close()


def names(spec: dict[str, Any]) -> list[str]:
    made = CsvFiles.model_validate(spec)
    return [file.name for file in place_of(made, os.environ).listing(lambda _: None)]


def rows(spec: dict[str, Any], name: str) -> list[Any]:
    made = CsvFiles.model_validate(spec)
    extraction = CsvExtraction(made, place_of(made, os.environ), name, TODAY)
    return [record.value for batch in extraction for record in batch.records]


def test_objects_are_listed_by_name_below_the_folder_of_the_wildcards(bucket: Objects) -> None:
    for key in ("in/b.csv", "in/a.csv", "in/deep/c d+e.csv", "in/x.txt", "inner/z.csv", "top.csv"):
        bucket.put(key, b"id\n1\n")
    assert names(bucket.spec("in/*.csv")) == ["a.csv", "b.csv"]
    assert names(bucket.spec("in/**/*.csv")) == ["a.csv", "b.csv", "deep/c d+e.csv"]
    assert names(bucket.spec("in/[!a].csv")) == ["b.csv"]
    assert names(bucket.spec("in/a.csv")) == ["a.csv"]
    assert names(bucket.spec("*.csv")) == ["top.csv"]
    assert names(bucket.spec("none/*.csv")) == []
    assert rows(bucket.spec("in/**/*.csv"), "deep/c d+e.csv") == [{"id": "1"}]


def test_more_objects_than_a_page_of_the_store_are_all_listed(bucket: Objects) -> None:
    for number in range(2 * PAGE + 1):
        bucket.put(f"in/{number:04}.csv", b"id\n1\n")
    assert len(names(bucket.spec("in/*.csv"))) == 2 * PAGE + 1


def pipeline_spec(place: dict[str, Any], **more: Any) -> dict[str, Any]:
    return place | {"kind": "thing", "key": "id", "fields": FIELDS} | more


def requested(pipeline: Pipeline, database_url: str) -> list[tuple[str | None, str | None]]:
    found = tick(pipeline, "it_sensor", database_url)
    if isinstance(found, dg.SkipReason):
        return []
    assert isinstance(found, dg.SensorResult)
    return [(request.partition_key, request.run_key) for request in found.run_requests or []]


def test_a_new_or_changed_object_is_loaded_and_an_unchanged_one_is_not_even_asked_for(
    bucket: Objects,
    pipeline_of: Callable[..., Pipeline],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = pipeline_of(CsvSource, pipeline_spec(bucket.spec("in/*.csv")))
    bucket.put("in/a.csv", b"id,name\n1,one\n")
    [(partition, key)] = requested(pipeline, database_url)
    assert partition == "a.csv"
    pipeline.add_files("it", "a.csv")
    assert pipeline.run("it", "a.csv").counts("inserted", "read", "validated") == (1, 1, 1)
    document = pipeline.one("select * from kasparro.document")
    assert document["headers"]["path"] == f"s3://{bucket.name}/in/a.csv"

    loads: list[str] = []
    get = obstore.get

    def counted(store: Any, path: str) -> Any:
        loads.append(path)
        return get(store, path)

    monkeypatch.setattr(obstore, "get", counted)
    assert requested(pipeline, database_url) == []
    assert loads == []

    bucket.put("in/a.csv", b"id,name\n1,ONE\n")
    [(_, other_key)] = requested(pipeline, database_url)
    assert other_key != key
    assert loads == []
    before = pipeline.everything()
    assert pipeline.run("it", "a.csv").counts("updated") == (1,)
    assert pipeline.everything() != before
    assert loads == ["in/a.csv"]
    assert requested(pipeline, database_url) == []


def test_an_object_sent_again_with_the_same_bytes_changes_nothing(
    bucket: Objects, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    pipeline = pipeline_of(CsvSource, pipeline_spec(bucket.spec("*.csv")))
    pipeline.add_files("it", "a.csv")
    bucket.put("a.csv", b"id,name\n1,one\n")
    assert pipeline.run("it", "a.csv").success
    before = pipeline.everything()
    bucket.put("a.csv", b"id,name\n1,one\n")
    run = pipeline.run("it", "a.csv")
    assert (run.success, run.counts("documents_unchanged")) == (True, (1,))
    assert pipeline.everything() == before
    assert requested(pipeline, database_url) == []


def test_the_documented_stored_example_reads_a_compressed_object(
    bucket: Objects, pipeline_of: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes = documented("example_stored_prices")
    monkeypatch.setenv("EXAMPLE_KEY_ID", ID)
    monkeypatch.setenv("EXAMPLE_SECRET", SECRET)
    attributes["files"] = attributes["files"].replace("example-exports", bucket.name)
    attributes["store"]["endpoint"] = bucket.address
    pipeline = pipeline_of(CsvSource, attributes)
    rows = "".join(f"{number}\tGold f\u00fcr {number}\t{number}.5\n" for number in range(20))
    bucket.put("prices/a.csv.gz", gzip.compress(f"id\tname\tlast\n{rows}".encode()))
    pipeline.add_files("it", "a.csv.gz")
    assert pipeline.run("it", "a.csv.gz").counts("inserted") == (20,)
    assert pipeline.unified("it")["7"]["title"] == "Gold f\u00fcr 7"


def test_an_object_that_is_gone_keeps_its_records_and_says_so(
    bucket: Objects, pipeline_of: Callable[..., Pipeline]
) -> None:
    pipeline = pipeline_of(CsvSource, pipeline_spec(bucket.spec("*.csv")))
    pipeline.add_files("it", "a.csv")
    bucket.put("a.csv", b"id,name\n1,one\n")
    assert pipeline.run("it", "a.csv").success
    bucket.delete("a.csv")
    run = pipeline.run("it", "a.csv")
    assert not run.success
    assert "the object is gone; its records stay as they are" in run.ledger["error"]
    assert set(pipeline.unified("it")) == {"1"}


def test_missing_secrets_are_told_by_name_before_anything_is_asked(
    bucket: Objects,
    pipeline_of: Callable[..., Pipeline],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IT_SECRET", " ")
    monkeypatch.delenv("IT_KEY_ID")
    pipeline = pipeline_of(CsvSource, pipeline_spec(bucket.spec("*.csv")))
    with pytest.raises(Exception, match="`store` names what is not set: IT_KEY_ID, IT_SECRET; set it in the"):
        requested(pipeline, database_url)


def test_secrets_are_in_no_log_error_metadata_or_document(
    bucket: Objects,
    pipeline_of: Callable[..., Pipeline],
    database_url: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bucket.put("a.csv", b"id,name\n1,one\n")
    caplog.set_level(logging.DEBUG)
    pipeline = pipeline_of(CsvSource, pipeline_spec(bucket.spec("*.csv")))
    pipeline.add_files("it", "a.csv", "gone.csv")
    assert pipeline.run("it", "a.csv").success
    failed = pipeline.run("it", "gone.csv")
    assert not failed.success
    wrong = pipeline_of(
        CsvSource, pipeline_spec(bucket.spec("*.csv") | {"files": "s3://no-such-bucket/*.csv"})
    )
    with pytest.raises(Exception, match=r"NoSuchBucket.*\(s3://no-such-bucket\)") as refused:
        requested(wrong, database_url)

    tables = str(pipeline.rows("select * from kasparro.document")) + str(
        pipeline.rows("select * from kasparro.etl_run")
    )
    metadata = str(list(failed.result.all_events))
    told = "\n".join([caplog.text, *capfd.readouterr(), failed.failure, str(refused.value), tables, metadata])
    assert "one" not in SECRET
    for secret in (ID, SECRET, SECRET.replace("/", "%2F").replace("+", "%2B")):
        assert secret not in told


def test_an_endpoint_that_is_not_public_has_to_be_allowed_by_name(bucket: Objects) -> None:
    spec = bucket.spec("*.csv", http={"attempts": 1})
    with pytest.raises(
        PermanentUpstreamError, match=r"127\.0\.0\.1, which is no public address; if it is meant"
    ):
        names(spec)
    with pytest.raises(PermanentUpstreamError, match="no public address"):
        rows(spec, "a.csv")


def test_settings_of_the_machine_are_not_taken(bucket: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_METADATA_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "other")
    bucket.put("a.csv", b"id\n1\n")
    assert rows(bucket.spec("*.csv"), "a.csv") == [{"id": "1"}]


def test_a_store_that_cannot_be_reached_is_a_passing_failure(bucket: Objects) -> None:
    spec = bucket.spec("*.csv")
    spec["store"]["endpoint"] = "http://127.0.0.1:9"
    with pytest.raises(TransientUpstreamError):
        names(spec)


def test_an_object_over_max_bytes_is_refused_while_it_is_received(bucket: Objects) -> None:
    bucket.put("a.csv", b"id\n" + b"1\n" * 1000)
    with pytest.raises(PermanentUpstreamError, match="the object has 2003 bytes, more than `max_bytes`"):
        rows(bucket.spec("*.csv", max_bytes=2000), "a.csv")


def test_a_file_is_received_with_little_memory(bucket: Objects, upstream: Upstream, served: Served) -> None:
    body = served.body = b"x" * 64 * 1024 * 1024
    bucket.put("a.csv", body)
    specs = [bucket.spec("a.csv"), {"files": f"{upstream.address}/files/coins.csv", "http": HTTP}]
    for spec, name in zip(specs, ("a.csv", "coins.csv"), strict=True):
        made = CsvFiles.model_validate(spec)
        tracemalloc.start()
        received = place_of(made, os.environ).receive(name)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        with received.opened:
            assert (received.size, received.sha256) == (len(body), sha256(body))
        assert most < 24 * 1024 * 1024


def test_a_name_that_is_not_of_the_source_is_refused(bucket: Objects) -> None:
    bucket.put("secret.txt", b"id\n1\n")
    for name in ("secret.txt", "../secret.txt", "deep/a.csv"):
        with pytest.raises(PermanentUpstreamError, match="not one of the source's `files`"):
            rows(bucket.spec("in/*.csv"), name)


def test_a_compressed_object_is_read_like_a_local_one(bucket: Objects, tmp_path: Path) -> None:
    bucket.put("a.csv.gz", gzip.compress(b"id\n1\n2\n"))
    assert rows(bucket.spec("*.gz"), "a.csv.gz") == [{"id": "1"}, {"id": "2"}]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"files": "s3://b/*.csv"}, "needs `store`"),
        ({"files": "s3://b/*.csv", "store": {}}, "name the environment variables"),
        ({"files": "s3://b/*.csv", "store": {"access_key_id_env": "A"}}, "go together"),
        ({"files": "gs://b/*.csv", "store": STORE_KEYS}, "gs:// needs service_account_key_env in `store`"),
        ({"files": "az://b/*.csv", "store": {"anonymous": True}}, "az:// needs account in `store`"),
        ({"files": "ftp://b/a.csv"}, "ftp:// is none of"),
        ({"files": "a/*.csv", "store": {"anonymous": True}}, "store: it is for"),
        ({"files": "https://user:word@example.com/a.csv"}, "neither user nor wildcards"),
        ({"files": "https://example.com/*.csv"}, "neither user nor wildcards"),
    ],
)
def test_a_place_that_lacks_something_is_refused_in_the_spec(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="validation error") as refused:
        CsvFiles.model_validate(spec)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("files", "store"),
    [
        ("gs://bucket/*.csv", {"anonymous": True}),
        ("az://container/*.csv", {"anonymous": True, "account": "it"}),
        ("s3://bucket/*.csv", {"anonymous": True}),
    ],
)
def test_the_other_stores_are_asked_in_the_same_way(files: str, store: dict[str, Any]) -> None:
    # nothing listens there: what is seen is that the library takes the options, and how it fails
    spec = {"files": files, "store": store | {"endpoint": "http://127.0.0.1:9"}, "http": HTTP}
    with pytest.raises(TransientUpstreamError, match=r"127\.0\.0\.1:9"):
        names(spec)


# --- an HTTP address ----------------------------------------------------------------------------------------


class Served:
    """A file of the upstream, with validators as a file server gives them."""

    def __init__(self, upstream: Upstream) -> None:
        self.body, self.etag, self.modified = b"", "", 0.0
        self.conditions: list[str | None] = []
        self.sent = 0
        upstream.answers["/files/coins.csv"] = self.answer

    def answer(self, _query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        given = {"ETag": self.etag} if self.etag else {}
        if self.modified:
            given["Last-Modified"] = format_datetime(datetime.fromtimestamp(self.modified, UTC), usegmt=True)
        self.conditions.append(headers.get("If-None-Match"))
        if self.etag and self.conditions[-1] == self.etag:
            return 304, given, b""
        self.sent += 1
        return 200, given, self.body


@pytest.fixture
def served(upstream: Upstream) -> Served:
    return Served(upstream)


def at(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return pipeline_spec({"files": f"{upstream.address}/files/coins.csv?x=1"}, **more)


def test_an_address_is_asked_conditionally_and_loaded_when_it_changed(
    upstream: Upstream, served: Served, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    served.body, served.etag = b"id,name\n1,one\n", '"1"'
    pipeline = pipeline_of(CsvSource, at(upstream))
    [(partition, key)] = requested(pipeline, database_url)
    assert partition == "coins.csv"
    pipeline.add_files("it", "coins.csv")
    assert pipeline.run("it", "coins.csv").counts("inserted") == (1,)
    sent = served.sent
    assert requested(pipeline, database_url) == []
    assert (served.conditions[-1], served.sent) == ('"1"', sent)

    served.body, served.etag = b"id,name\n1,ONE\n", '"2"'
    [(_, other)] = requested(pipeline, database_url)
    assert other != key
    assert pipeline.run("it", "coins.csv").counts("updated") == (1,)
    assert requested(pipeline, database_url) == []


def test_an_address_without_validators_is_known_by_its_bytes(
    upstream: Upstream, served: Served, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    served.body = b"id,name\n1,one\n"
    pipeline = pipeline_of(CsvSource, at(upstream))
    pipeline.add_files("it", "coins.csv")
    assert len(requested(pipeline, database_url)) == 1
    assert pipeline.run("it", "coins.csv").success
    assert requested(pipeline, database_url) == []
    served.body = b"id,name\n1,ONE\n"
    assert len(requested(pipeline, database_url)) == 1


def test_a_body_that_is_not_wanted_is_not_waited_for(
    upstream: Upstream, served: Served, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    served.body, served.etag = b"id,name\n" + b"x" * 64 * 1024 * 1024, '"1"'
    pipeline = pipeline_of(CsvSource, at(upstream, max_bytes=1024))
    assert len(requested(pipeline, database_url)) == 1
    pipeline.add_files("it", "coins.csv")
    run = pipeline.run("it", "coins.csv")
    assert "larger than max_bytes, 1024 bytes" in run.ledger["error"]


def test_a_file_that_was_changed_just_now_is_left_for_the_next_tick(
    upstream: Upstream, served: Served, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    served.body, served.etag, served.modified = b"id,name\n1,one\n", '"1"', time.time() + 1
    pipeline = pipeline_of(CsvSource, at(upstream))
    assert requested(pipeline, database_url) == []
    served.modified = time.time() - 60
    assert len(requested(pipeline, database_url)) == 1


def test_an_address_sends_its_credentials_and_may_lead_to_no_private_host_by_itself(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IT_TOKEN", "t0ken-of-the-test")
    seen: list[str | None] = []

    def answer(_query: dict[str, str], headers: dict[str, str]) -> bytes:
        seen.append(headers.get("Authorization"))
        return b"id\n1\n"

    upstream.answers["/files/coins.csv"] = answer
    place = {
        "files": f"{upstream.address}/files/coins.csv",
        "auth": {"type": "bearer", "token_env": "IT_TOKEN"},
    }
    assert rows(place | {"http": HTTP}, "coins.csv") == [{"id": "1"}]
    assert seen == ["Bearer t0ken-of-the-test"]
    with pytest.raises(PermanentUpstreamError, match="no public address"):
        rows(place, "coins.csv")
    with pytest.raises(PermanentUpstreamError, match=r"names coins\.csv, not other\.csv"):
        rows(place | {"http": HTTP}, "other.csv")
    monkeypatch.delenv("IT_TOKEN")
    with pytest.raises(PermanentUpstreamError, match="IT_TOKEN"):
        rows(place | {"http": HTTP}, "coins.csv")
