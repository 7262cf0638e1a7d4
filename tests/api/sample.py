"""A small warehouse as the built-in sources leave it: what documentation and its tests are run on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    import psycopg

COINS = (
    "Bitcoin",
    "Ether",
    "Wrapped Bitcoin",
    "XRP",
    "Cardano",
    "Dogecoin",
    "Zilliqa",
    "Zcash",
    "Aave",
    "TRX",
)
NOW = datetime.now(UTC).replace(microsecond=123456)
LAST_WEEK = NOW - timedelta(days=7)
PRICES, NEWS, REFERENCE = "coinpaprika_tickers", "crypto_news", "coin_reference"
ATTRIBUTES: dict[str, dict[str, Any]] = {
    PRICES: {"rank": {"type": "integer"}, "market_cap": {"type": "number"}},
    NEWS: {},
    REFERENCE: {},
}


def fill(warehouse: psycopg.Connection[Any]) -> None:
    """Three sources: 60 prices a week old, 25 articles of today, 20 coins, of which one was deleted."""
    for number in range(60):
        coin = COINS[number % len(COINS)]
        _record(
            warehouse,
            PRICES,
            number,
            kind="price",
            title=coin if number < len(COINS) else f"{coin} {number // len(COINS)}",
            category="coin" if number % 3 else "token",
            amount=round(70_000 / (number + 1) ** 2, 6),
            currency="USD",
            published_at=LAST_WEEK - timedelta(minutes=number // 4),  # some at the same time
            attributes=Jsonb({"rank": number + 1, "market_cap": 10**12 // (number + 1)}),
            first_seen_at=LAST_WEEK,
            updated_at=LAST_WEEK,
        )
    for number in range(25):
        _record(
            warehouse,
            NEWS,
            number,
            kind="article",
            title=f"{COINS[number % len(COINS)]} moves, issue {number}",
            summary="What the market says about bitcoin." if number % 2 else "=1+1 is no formula.",
            url=f"http://news.kasparro.invalid/{number}",
            category="Markets",
            author="Ben Marlow",
            tags=["Markets", COINS[number % 3]],
            published_at=NOW - timedelta(minutes=number),
        )
    for number in range(20):
        _record(
            warehouse,
            REFERENCE,
            number,
            kind="asset",
            title=COINS[number % len(COINS)],
            category="coin" if number % 2 else "token",
            published_at=datetime(2009 + number % 15, 1, 3, tzinfo=UTC) if number else None,
            deleted_at=NOW if number == 19 else None,
        )
    for source, fields in ATTRIBUTES.items():
        _insert(
            warehouse,
            "contract_version",
            source=source,
            version=1,
            digest=source.encode(),
            contract=Jsonb({"fields": fields}),
            version_rule=Jsonb({}),
            epoch=1,
        )
        for run, status in (("a", "failed"), ("b", "partial")):
            _insert(
                warehouse,
                "etl_run",
                run_id=f"{source}-{run}",
                source=source,
                partition_key=NOW.date().isoformat(),
                fence=1,
                status=status,
                started_at=NOW - timedelta(minutes=5),
                finished_at=NOW - timedelta(minutes=4),
                error="the upstream is away" if status == "failed" else None,
                **dict.fromkeys(("extracted", "read"), 25),
                validated=24,
                rejected=1,
            )


def _record(warehouse: psycopg.Connection[Any], source: str, number: int, **columns: object) -> None:
    common = {
        "source": source,
        "source_id": f"{source}-{number}",
        "epoch": 1,
        "version": 1,
        "content_hash": number.to_bytes(16, "big"),
        "raw_id": number + 1,
        "run_id": f"{source}-b",
    }
    _insert(warehouse, "unified_record", **{**common, **columns})


def _insert(warehouse: psycopg.Connection[Any], table: str, **columns: object) -> None:
    statement = sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier("kasparro", table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
    )
    warehouse.execute(statement, list(columns.values()))
