"""Keeps every version of a source's contract, so that each validated record can name the one it kept."""

from dataclasses import dataclass

from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """A contract as registered. The epoch is that of its version rule."""

    number: int
    epoch: int


def has_changed(connection: Connection, source: str) -> bool:
    """Whether the source ever had another contract."""
    row = connection.execute(
        f"select count(*) > 1 from {SCHEMA}.contract_version where source = %s", (source,)
    ).fetchone()
    return bool(row and row[0])


def register(
    connection: Connection, hold: Hold, *, digest: bytes, contract: bytes, version_rule: bytes
) -> ContractVersion:
    """The present contract of the held source: the newest one kept, or a new version if it differs.

    `contract` and `version_rule` (how it tells newer from older) are canonical JSON, `digest` is the SHA-256
    of the contract. One that returns to an earlier text is a new version, apart from what was in between.
    """
    with connection.transaction():
        # two runs of one source that meet here with a new contract must agree on its number
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"contract:{hold.source}",)
        )
        connection.execute(
            f"with newest as (select * from {SCHEMA}.contract_version where source = %(source)s"
            " order by version desc limit 1)"
            f" insert into {SCHEMA}.contract_version (source, version, digest, contract, version_rule, epoch)"
            " select %(source)s, coalesce(n.version, 0) + 1, %(digest)s, %(contract)s::jsonb,"
            " %(rule)s::jsonb, coalesce(n.epoch, 0) + (n.version_rule is distinct from %(rule)s::jsonb)::int"
            " from (select) one left join newest n on true where n.digest is distinct from %(digest)s",
            {
                "source": hold.source,
                "digest": digest,
                "contract": contract.decode(),
                "rule": version_rule.decode(),
            },
        )
        row = connection.execute(
            f"select version, epoch from {SCHEMA}.contract_version where source = %s"
            " order by version desc limit 1",
            (hold.source,),
        ).fetchone()
        assert row is not None  # noqa: S101 - inserted above
        connection.execute(
            f"update {SCHEMA}.etl_run set contract_version = %s"
            " where run_id = %s and source = %s and partition_key = %s",
            (row[0], hold.run_id, hold.source, hold.partition_key),
        )
    return ContractVersion(*row)


def other_epochs(connection: Connection, source: str, epoch: int) -> list[str]:
    """Partitions of a source that were validated under a contract with another version rule."""
    rows = connection.execute(
        f"select c.partition_key from {SCHEMA}.checkpoint c join {SCHEMA}.contract_version v"
        " on v.source = c.source and v.version = c.contract_version"
        " where c.source = %s and v.epoch <> %s order by 1",
        (source, epoch),
    ).fetchall()
    return [row[0] for row in rows]
