"""Compressed CSV files: read as streams, whole or not at all, and no bomb goes off."""

import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.extract import decompression
from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_folder import Folder
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.decompression import Limits, content, kind_of
from kasparro_pipeline.extract.documents import Batch, KnownDocument, PartialDocument, Request, sha256
from kasparro_pipeline.extract.errors import PermanentUpstreamError

TODAY = date(2026, 1, 1)
BODY = b"id,name\n" + b"".join(b"%d,name of %d\n" % (n, n) for n in range(2000))
MB = 1024 * 1024


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), body, method)
    return file.getvalue()


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(body)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "zip": lambda body: zipped({"a.csv": body}),
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., list[Batch]]:
    """Write bytes to a file and extract it."""

    def loaded(body: bytes, known: dict[str, Any] | None = None, **spec: Any) -> list[Batch]:
        (tmp_path / "a").write_bytes(body)
        made = CsvFiles(files=f"{tmp_path}/a", **spec)
        request = Request(TODAY, known=(known or {}).get)
        return list(CsvExtraction(made, Folder(made.files), "a", request))

    return loaded


Load = Callable[..., list[Batch]]


def rows(batches: list[Batch]) -> list[Any]:
    return [record.value for batch in batches for record in batch.records]


def refusal(load: Load, body: bytes, **spec: Any) -> str:
    with pytest.raises(PermanentUpstreamError) as refused:
        load(body, **spec)
    return str(refused.value)


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("declared", ["auto", "as it is"])
def test_a_compressed_file_has_the_rows_and_the_digest_of_its_content(
    kind: str, declared: str, load: Load
) -> None:
    packed = PACKED[kind](BODY)
    found = load(packed, compression="auto" if declared == "auto" else kind)
    assert rows(found) == rows(load(BODY))
    document = found[0].document
    assert document
    assert (document.sha256, document.byte_count) == (sha256(BODY), len(BODY))
    assert document.headers["compression"] == kind
    assert document.headers["file_sha256"] == sha256(packed).hex()


def test_several_gzip_members_or_zstandard_frames_are_one_file(load: Load) -> None:
    for pack in (gzip.compress, zstd):
        assert rows(load(pack(BODY[:100]) + pack(BODY[100:]))) == rows(load(BODY))


@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_stream_gives_the_content_whatever_is_asked_for_at_once(body: bytes, cuts: list[int]) -> None:
    for kind, pack in (("gzip", gzip.compress), ("zstd", zstd)):
        file = io.BytesIO(pack(body))
        assert kind_of(file) == kind
        stream, found, turn = content(file, kind_of(file), Limits(MB, 250)), b"", 0
        while chunk := stream.read(cuts[turn % len(cuts)]):
            found, turn = found + chunk, turn + 1
        assert found == body


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("damage", ["cut by 1", "cut by 9", "cut in the middle", "one bit"])
def test_a_cut_or_damaged_file_is_an_error_and_gives_no_batch(kind: str, damage: str, load: Load) -> None:
    whole = PACKED[kind](BODY)
    body = {
        "cut by 1": whole[:-1],
        "cut by 9": whole[:-9],
        "cut in the middle": whole[: len(whole) // 2],
        "one bit": whole[:200] + bytes([whole[200] ^ 0x10]) + whole[201:],
    }[damage]
    said = refusal(load, body)
    assert f"the {kind} file is cut, damaged or of another kind" in said
    assert "/a" in said


def test_garbage_behind_a_compressed_file_is_an_error(load: Load) -> None:
    for pack in (gzip.compress, zstd):
        assert "is cut, damaged or of another kind" in refusal(load, pack(BODY) + b"id,name\n1,x\n")


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
def test_a_file_that_is_not_compressed_as_declared_is_an_error(kind: str, load: Load) -> None:
    assert f"the {kind} file is cut, damaged or of another kind" in refusal(load, BODY, compression=kind)


@pytest.mark.parametrize("kind", PACKED)
def test_a_bomb_is_stopped_by_its_ratio_with_little_memory(kind: str, load: Load) -> None:
    bomb = PACKED[kind](b"a\n" + b"0" * (256 * MB))
    tracemalloc.start()
    said = refusal(load, bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "more than 250 times its size" in said
    assert "raise `max_ratio`" in said
    assert most < 64 * MB


@pytest.mark.parametrize("kind", PACKED)
def test_content_beyond_max_bytes_is_an_error(kind: str, load: Load) -> None:
    packed = PACKED[kind](BODY)
    assert "more than `max_bytes`, 20000 bytes" in refusal(load, packed, max_bytes=20_000)
    assert rows(load(packed, max_bytes=len(BODY)))
    assert "more than `max_bytes`, 20000" in refusal(load, BODY, max_bytes=20_000)


def test_all_members_together_count_against_max_bytes(load: Load) -> None:
    body = zipped({f"{n}.csv": BODY for n in range(3)})
    assert "max_bytes" in refusal(load, body, max_bytes=2 * len(BODY))
    assert len(rows(load(body, max_bytes=3 * len(BODY)))) == 6000


def test_each_csv_member_is_a_document_and_the_archive_one_behind_them(load: Load) -> None:
    members = {
        "x/coins-2026-01-02.csv": b"id\n1\n",
        "B.CSV": b"id\n2\n",
        "readme.txt": b"no",
        "__MACOSX/x/._coins.csv": b"\x00",
        ".hidden.csv": b"id\n9\n",
    }
    body = zipped(members)
    found = load(body)
    documents = [batch.document for batch in found if batch.document]
    assert [(one.location, one.sha256) for one in documents] == [
        ("a!x/coins-2026-01-02.csv", sha256(b"id\n1\n")),
        ("a!B.CSV", sha256(b"id\n2\n")),
        ("a", sha256(body)),
    ]
    assert documents[0].context == {
        "file": "a",
        "member": "x/coins-2026-01-02.csv",
        "file_date": "2026-01-02",
    }
    assert documents[2].headers["left_members"] == "readme.txt, __MACOSX/x/._coins.csv, .hidden.csv"
    assert [batch.done for batch in found] == [False, False, True]
    assert [len(batch.records) for batch in found] == [1, 1, 0]


def test_members_that_are_not_csv_can_be_named(load: Load) -> None:
    body = zipped({"a.tsv": b"id\tn\n1\t2\n", "b.csv": b"x"})
    assert rows(load(body, members="*.tsv", delimiter="\t")) == [{"id": "1", "n": "2"}]
    assert "it has a.tsv, b.csv; correct `members`" in refusal(load, body, members="*.dat")
    assert "none at all" in refusal(load, zipped({}))


def test_a_bad_member_is_named_and_the_members_before_it_are_whole(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"a.csv": b"id\n1\n", "b.csv": b""}))
    made = CsvFiles(files=f"{tmp_path}/*.zip")
    batches = iter(CsvExtraction(made, Folder(made.files), "a.zip", Request(TODAY)))
    assert next(batches).complete
    with pytest.raises(PermanentUpstreamError, match=r"no header row.*a\.zip!b\.csv"):
        next(batches)


def test_an_encrypted_member_and_a_member_that_comes_twice_are_errors(load: Load) -> None:
    body = bytearray(zipped({"a.csv": b"id\n1\n"}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + flags] |= 1
    assert "the member a.csv is encrypted" in refusal(load, bytes(body))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", b"id\n1\n")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.csv", b"id\n2\n")
    assert "members that come twice in the archive: a.csv" in refusal(load, file.getvalue())


def test_an_archive_of_too_many_members_is_an_error(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "MAX_MEMBERS", 2)
    assert "at most 2" in refusal(load, zipped({f"{n}.csv": b"id\n" for n in range(3)}))


def known(document: Any, number: int = 1) -> KnownDocument:
    return KnownDocument(number, document.sha256, 1, document.headers, document.layout, document.context)


def test_the_same_file_again_is_a_no_op_and_of_an_archive_only_changed_members_are_read(load: Load) -> None:
    one, other = b"id\n1\n", b"id\n2\n"
    first = load(zipped({"a.csv": one, "b.csv": other}))
    stored = {batch.document.location: known(batch.document) for batch in first if batch.document}
    assert [batch.document for batch in load(zipped({"a.csv": one, "b.csv": other}), stored)] == [None]
    again = load(zipped({"a.csv": one, "b.csv": b"id\n3\n"}), stored)
    assert [batch.document and batch.document.location for batch in again] == [None, "a!b.csv", "a"]
    assert rows(again) == [{"id": "3"}]


def test_an_interrupted_compressed_file_goes_on_behind_what_is_stored(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(BODY))
    made = CsvFiles(files=f"{tmp_path}/*.gz")
    stored = PartialDocument(1, sha256(BODY), 1990, {})
    request = Request(TODAY, partial=lambda _: stored)
    rest = list(CsvExtraction(made, Folder(made.files), "a.gz", request))
    assert [record.position for batch in rest for record in batch.records] == list(range(1990, 2000))
