"""Checks that compare a partition with the source's own past, or with a threshold of its `defs.yaml`.

None of them blocks: they warn a person. What counts as unusual is in `contract.usual`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import dagster as dg

from kasparro_pipeline.components.checks.check import Check, Look, check
from kasparro_pipeline.components.checks.tables import table
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.contract.usual import ENOUGH, judge, jump
from kasparro_pipeline.warehouse import measurements
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.measurements import MEDIAN, NULL_SHARE, VOLUME, Earlier

RISE = 0.1
"""Of all records: a share of missing values that lies this much above the usual one is unusual."""
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")

TOO_FEW = f"there are no {ENOUGH} earlier partitions to compare with"


def volume_anomaly(source: Source) -> Check:
    """How many records a partition has, against the source's own history."""
    return check(
        source,
        "raw",
        "volume_anomaly",
        _volume,
        description="As many records as usual: against the median of earlier partitions of the same weekday.",
    )


def _volume(source: Source, look: Look) -> dg.AssetCheckResult:
    connection, key = look.connection, look.partition_key
    number, came_at = measurements.volume(connection, source.name, key)
    belongs_at = _belongs_at(source, key, came_at)
    past = measurements.earlier(connection, source.name, VOLUME, belongs_at).get("", ())
    measurements.keep(connection, source.name, key, belongs_at, VOLUME, {"": number})
    which, compared = _seasonal(past, belongs_at)
    # a day that is not over has not all of its records yet
    is_over = source.kind == "csv" or belongs_at.date() < datetime.now(UTC).date()
    verdict = judge(number, compared, judge_less=is_over)
    usual = f"{verdict.usual:,.0f} is usual on {verdict.compared} {which}"
    return dg.AssetCheckResult(
        passed=not verdict.is_unusual,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{number:,} records; {usual if verdict.compared >= ENOUGH else TOO_FEW}",
        metadata={
            "records": number,
            "usual": float(verdict.usual),
            "robust_score": round(verdict.score, 2),
            "compared_with": f"{verdict.compared} {which}",
        },
    )


def rejected_share(source: Source) -> Check:
    """How large a part of a partition's newest documents is rejected, against the source's threshold."""
    return check(
        source,
        "validated",
        "rejected_share",
        _rejected,
        description="Not more of the records are rejected than `max_rejected_share` allows.",
    )


def _rejected(source: Source, look: Look) -> dg.AssetCheckResult:
    where = look.connection, source.name, look.partition_key
    records, _ = measurements.volume(*where)
    rejected, again = measurements.rejections(*where)
    share = rejected / records if records else 0.0
    limit = source.common.max_rejected_share
    return dg.AssetCheckResult(
        passed=share <= limit,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rejected:,} of {records:,} records ({share:.2%}) are rejected, allowed are {limit:.2%}"
        + (f"; {again:,} of them came in an earlier document, and are in its quarantine" if again else ""),
        metadata={
            "rejected": rejected,
            "rejected_before": again,
            "rejected_share": share,
            "max_rejected_share": limit,
        },
    )


def null_rate(source: Source) -> Check:
    """How often each field has no value, against the source's own history."""
    return check(
        source,
        "validated",
        "null_rate",
        _nulls,
        description=f"No field is empty much more often (by {RISE:.0%} of the records) than it usually is.",
    )


def _nulls(source: Source, look: Look) -> dg.AssetCheckResult:
    connection, key = look.connection, look.partition_key
    shares, _ = look.fields
    past = _exchange(connection, source, key, NULL_SHARE, shares)
    rows = []
    for field, share in shares.items():
        usual = judge(share, [one.value for one in past.get(field, ())])
        unusual = usual.compared >= ENOUGH and share > usual.usual + RISE
        rows.append((field, share, usual.usual if usual.compared else None, unusual))
    unusual_ones = [row for row in rows if row[3]]
    return dg.AssetCheckResult(
        passed=not unusual_ones,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(
            f"{field} is empty in {share:.1%} of the records, usual is {usual:.1%}"
            for field, share, usual, _ in unusual_ones
        )
        or _silence(past, "every field is there as often as usual"),
        metadata={
            "records": look.accounting.validated,
            "largest_null_rate": max(shares.values(), default=0.0),
            "null_rate": table(
                [
                    {"field": field, "null_rate": share, "usual": usual, "unusual": str(unusual).lower()}
                    for field, share, usual, unusual in rows
                ]
            ),
        },
    )


def value_distribution(source: Source) -> Check:
    """The median of each numeric field, against the source's own history."""
    return check(
        source,
        "validated",
        "value_distribution",
        _distribution,
        description="No numeric field's median jumps by more than the factor `max_value_jump`: "
        "cents that became euros, a unit that changed.",
    )


def _distribution(source: Source, look: Look) -> dg.AssetCheckResult:
    connection, key = look.connection, look.partition_key
    _, medians = look.fields
    past = _exchange(connection, source, key, MEDIAN, medians)
    limit = source.common.max_value_jump
    rows = []
    for field, value in medians.items():
        before = judge(value, [one.value for one in past.get(field, ())])
        factor = jump(value, before.usual) if before.compared >= ENOUGH else 1.0
        rows.append((field, value, before.usual if before.compared else None, factor))
    jumped = [row for row in rows if row[3] > limit]
    return dg.AssetCheckResult(
        passed=not jumped,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(
            f"the median of {field} is {value:g}, usual is {usual:g}: a jump by {factor:g}"
            for field, value, usual, factor in jumped
        )
        or _silence(past, f"no median has jumped by more than {limit:g}"),
        metadata={
            "records": look.accounting.validated,
            "largest_jump": max((row[3] for row in rows), default=1.0),
            "max_value_jump": limit,
            "medians": table(
                [
                    {"field": field, "median": value, "usual": usual, "jump": factor}
                    for field, value, usual, factor in rows
                ]
            ),
        },
    )


def _silence(past: Mapping[str, Sequence[Earlier]], good: str) -> str:
    """What is said where nothing is unusual."""
    return good if any(len(found) >= ENOUGH for found in past.values()) else TOO_FEW


def _exchange(
    connection: Connection, source: Source, key: str, measure: str, values: Mapping[str, float]
) -> Mapping[str, Sequence[Earlier]]:
    """Keep what was measured; what earlier partitions had."""
    _, came_at = measurements.volume(connection, source.name, key)
    belongs_at = _belongs_at(source, key, came_at)
    past = measurements.earlier(connection, source.name, measure, belongs_at)
    measurements.keep(connection, source.name, key, belongs_at, measure, values)
    return past


def _belongs_at(source: Source, key: str, came_at: datetime | None) -> datetime:
    """The day of a daily partition; of a file, when it first came."""
    if source.kind != "csv":
        return datetime.combine(date.fromisoformat(key), datetime.min.time(), UTC)
    return came_at or datetime.now(UTC)


def _seasonal(past: Sequence[Earlier], belongs_at: datetime) -> tuple[str, list[float]]:
    """The values of the same weekday, if there are enough; else all."""
    weekday = belongs_at.astimezone(UTC).weekday()
    same = [one.value for one in past if one.belongs_at.astimezone(UTC).weekday() == weekday]
    if len(same) >= ENOUGH:
        return f"earlier {WEEKDAYS[weekday]}", same
    return "earlier partitions", [one.value for one in past]
