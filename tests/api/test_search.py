"""Full text search: its syntax, its orders, and texts of any size."""

from typing import Any

import pytest

from tests.api import model
from tests.api.conftest import Service

PLAIN: dict[str, Any] = {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {}}


def fill(service: Service, *texts: tuple[str | None, str | None]) -> dict[str | None, int]:
    """Records with these titles and summaries, as id by title."""
    rows = [{**PLAIN, "title": title, "summary": summary} for title, summary in texts]
    return {row["title"]: row["id"] for row in model.fill(service.warehouse, rows)}


def found(service: Service, q: str, **parameters: Any) -> list[str]:
    response = service.get("/data", q=q, **parameters)
    assert response.status_code == 200, response.text
    return [record["title"] for record in response.json()["data"]]


@pytest.mark.parametrize(
    ("q", "titles"),
    [
        ("market", {"Markets fall", "Market calm", "News"}),
        ("MARKETS", {"Markets fall", "Market calm", "News"}),
        ("market fall", {"Markets fall"}),
        ('"market calm"', {"Market calm"}),
        ('"calm market"', set()),
        ("calm or falls", {"Markets fall", "Market calm"}),
        ("market -calm", {"Markets fall", "News"}),
        ("-market", {"Other"}),
        ("the of and", set()),
        ('- or "" & | ! ( ) : * <->', set()),
        ("'", set()),
        ("\\", set()),
        ("x" * 500, set()),
        ("é " * 250, set()),
    ],
)
def test_a_search_takes_the_syntax_of_the_web(service: Service, q: str, titles: set[str]) -> None:
    fill(
        service,
        ("Markets fall", None),
        ("Market calm", "the day"),
        ("News", "of the market"),
        ("Other", "words"),
    )
    assert set(found(service, q)) == titles


def test_a_search_of_no_text_or_too_much_is_refused(service: Service) -> None:
    for q in ("", "  ", "a\0b", "x" * 501):
        response = service.get("/data", q=q)
        assert response.status_code == 422
        assert response.json()["errors"][0]["parameter"] == "q"


def test_matches_come_newest_first_and_by_relevance_on_request(service: Service) -> None:
    fill(service, ("coin coin coin", None), ("x", "coin"), ("coin", "words"), ("y", "nothing"))
    assert found(service, "coin") == ["coin", "x", "coin coin coin"]
    assert found(service, "coin", sort="-relevance") == ["coin coin coin", "coin", "x"]
    response = service.get("/data", sort="-relevance")
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "sort"


@pytest.mark.parametrize("sort", ["-published_at", "-relevance", "title", "-amount"])
def test_a_walk_through_matches_meets_each_once(service: Service, sort: str) -> None:
    fill(service, *((f"word {'coin ' * (n % 7)}{n}", "coin" if n % 3 else None) for n in range(40)))
    whole = found(service, "coin", sort=sort, limit=1000)
    assert len(whole) == len(set(whole)) == 38
    met: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        body = service.get("/data", q="coin", sort=sort, limit=3, **cursor).json()
        met += [record["title"] for record in body["data"]]
        if not body["pagination"]["has_more"]:
            break
        cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert met == whole


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"w{n:07d}" for n in range(120_000)),
        "x" * 2_000_000,
        "é𝒳" * 500_000,
        "漢字 " * 200_000,
        "\u2028\x01<b>&amp;' \\ " * 50_000,
    ],
    ids=["distinct words", "one letter", "beyond ASCII", "ideographs", "control characters"],
)
@pytest.mark.parametrize("column", ["title", "summary"])
def test_a_text_of_any_size_is_stored_and_served(service: Service, column: str, text: str) -> None:
    [record] = model.fill(service.warehouse, [{**PLAIN, "title": "needle", column: f"needle {text}"}])
    response = service.get("/data", q="needle", sort="title")
    assert [each["id"] for each in response.json()["data"]] == [record["id"]]
    assert response.json()["data"][0][column] == f"needle {text}"
