"""Records that only a document has, or only its base: told the same whether or not they were read before."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.components import differing
from kasparro_pipeline.components.differing import Differing
from kasparro_pipeline.contract.keys import Keys
from kasparro_pipeline.extract import csv_rows

LAYOUT: dict[str, Any] = {"format": "csv", "delimiter": ",", "quote": '"', "encoding": "utf-8"} | {
    "columns": ["id", "name"]
}
rows = st.tuples(st.integers(0, 30), st.sampled_from(["x", "", '"q,r"', "2026-11-30"]))
batches = st.lists(st.tuples(st.lists(rows, max_size=6), st.booleans()), max_size=8)


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differing, "MOST_WAITING", 10)


@given(given_batches=batches)
def test_records_that_were_read_before_have_the_keys_and_the_profile_that_reading_them_gives(
    given_batches: list[tuple[list[tuple[int, str]], bool]],
) -> None:
    read, some, places = Differing(Keys(("id",)), LAYOUT), Differing(Keys(("id",)), LAYOUT), count()
    of_read: list[str] = []
    of_some: list[str] = []
    for batch, is_read in given_batches:
        found = [(next(places), f"{number},{name}\n".encode()) for number, name in batch]
        table = csv_rows.read_many([payload for _, payload in found], LAYOUT)
        read.add(found)
        some.add(found, table if is_read else None)
        of_read += read.keys() if read.are_many else ()
        of_some += some.keys() if some.are_many else ()
    of_read += read.keys()
    of_some += some.keys()
    assert of_some == of_read == [str(number) for batch, _ in given_batches for number, _ in batch]
    assert some.profile.as_json() == read.profile.as_json()
    assert not some.keys()
