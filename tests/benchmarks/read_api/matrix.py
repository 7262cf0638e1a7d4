"""Every filter, with a common and a rare value, in every order: is any page much slower than the others?"""

from collections.abc import Iterator
from statistics import median
from urllib.parse import urlencode

import psycopg

from tests.benchmarks.read_api import client, records
from tests.benchmarks.read_api.bench import Bench

SECTION = "matrix"
SORTS = tuple(sign + name for name in ("published_at", "updated_at", "amount", "title") for sign in ("-", ""))
STOPPED = "source (stopped)"
SHOWN = 12
"""Combinations of the slow end that are printed."""
_MOST = 15
_SECONDS = 1.0


def filters(bench: Bench) -> Iterator[tuple[str, dict[str, str | list[str]]]]:
    """The filters by name."""
    first, second, *_, rare = records.PUBLISHERS[:-1]
    early, late = _update_times(bench)
    yield "no filter", {}
    yield "source (common)", {"source": first.name}
    yield "source (rare)", {"source": rare.name}
    yield STOPPED, {"source": records.STOPPED.name}
    yield "source (any of 2)", {"source": [second.name, rare.name]}
    yield "category (common)", {"category": records.CATEGORIES[0]}
    yield "category (rare)", {"category": records.CATEGORIES[-1]}
    yield "category (any of 2)", {"category": [records.CATEGORIES[1], records.CATEGORIES[-1]]}
    yield "source+category (common)", {"source": first.name, "category": records.CATEGORIES[0]}
    yield "source+category (rare)", {"source": rare.name, "category": records.CATEGORIES[-1]}
    yield "kind (common)", {"kind": first.kind}
    yield "kind (rare)", {"kind": rare.kind}
    yield "author (common)", {"author": records.AUTHORS[0]}
    yield "author (rare)", {"author": records.AUTHORS[-1]}
    yield "tag (common)", {"tag": records.TAGS[0]}
    yield "tag (rare)", {"tag": records.TAGS[-1]}
    yield "published_after (common)", {"published_after": "2023-02-01T00:00:00Z"}
    yield "published_after (rare)", {"published_after": "2025-12-30T00:00:00Z"}
    yield "published_before (common)", {"published_before": "2025-12-01T00:00:00Z"}
    yield "published_before (rare)", {"published_before": "2019-02-01T00:00:00Z"}
    yield "updated_since (common)", {"updated_since": early}
    yield "updated_since (rare)", {"updated_since": late}
    yield "amount_min (common)", {"amount_min": "10"}
    yield "amount_min (rare)", {"amount_min": "100000"}
    yield "amount_max (common)", {"amount_max": "10000"}
    yield "amount_max (rare)", {"amount_max": "0.2"}
    yield "q (common)", {"q": records.WORDS[0]}
    yield "q (medium)", {"q": records.WORDS[300]}
    yield "q (rare)", {"q": records.WORDS[-1]}
    yield "attribute (common)", {"attributes.lang": "en"}
    yield "attribute (rare)", {"attributes.rank": "17"}
    yield "deleted=only", {"deleted": "only"}


def run(bench: Bench) -> None:
    """Time each combination of a filter and an order, one request after another."""
    taken: dict[tuple[str, str], list[float]] = {}
    with bench.api() as server:
        wanted = list(filters(bench))
        for number in range(bench.settings.rounds):
            for name, parameters in wanted:
                for sort in SORTS:
                    if name in bench.figures.skipped:
                        continue
                    query = urlencode({"limit": 100, "sort": sort, **parameters}, doseq=True)
                    try:
                        times = client.latencies(server, f"/data?{query}", most=_MOST, seconds=_SECONDS)
                    except client.RefusedError as error:
                        bench.figures.skip(f"{name}, {sort}", str(error))
                        continue
                    p50 = median(times) * 1000
                    taken.setdefault((name, sort), []).append(p50)
                    bench.figures.add(SECTION, name, sort, {"p50": p50}, number=number, shown=())
    slowest = sorted(((median(times), *key) for key, times in taken.items()), reverse=True)
    print(f"  median of {len(taken)} combinations: {median(p50 for p50, *_ in slowest):.2f} ms; the slowest:")
    for p50, name, sort in slowest[:SHOWN]:
        print(f"  {p50:9.2f} ms  {name}, {sort}", flush=True)


def _update_times(bench: Bench) -> tuple[str, str]:
    """A time behind which most records were updated, and one behind which about 500 were."""
    found = []
    with psycopg.connect(bench.dataset.url) as connection:
        for skipped in (bench.dataset.rows * 9 // 10, 500):
            row = connection.execute(
                "select to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
                " from kasparro.unified_record order by updated_at desc, id desc offset %s limit 1",
                (skipped,),
            ).fetchone()
            assert row is not None
            found.append(row[0])
    return found[0], found[1]
