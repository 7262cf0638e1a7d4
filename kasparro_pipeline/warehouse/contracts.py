"""Keeps every version of a source's contract, so that each validated record can name the one it kept."""

from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA


def has_changed(connection: Connection, source: str) -> bool:
    """Whether the source ever had another contract."""
    row = connection.execute(
        f"select count(*) > 1 from {SCHEMA}.contract_version where source = %s", (source,)
    ).fetchone()
    return bool(row and row[0])


def version_of(connection: Connection, hold: Hold, digest: bytes, contract: bytes) -> int:
    """The number of this contract (canonical JSON, SHA-256) for the held source; a new one if unseen."""
    with connection.transaction():
        # two runs of one source that meet here with a new contract must agree on its number
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"contract:{hold.source}",)
        )
        connection.execute(
            f"insert into {SCHEMA}.contract_version (source, version, digest, contract)"
            " select %(source)s, coalesce(max(version), 0) + 1, %(digest)s, %(contract)s::jsonb"
            f" from {SCHEMA}.contract_version where source = %(source)s"
            " having not coalesce(bool_or(digest = %(digest)s), false)",
            {"source": hold.source, "digest": digest, "contract": contract.decode()},
        )
        row = connection.execute(
            f"select version from {SCHEMA}.contract_version where source = %s and digest = %s",
            (hold.source, digest),
        ).fetchone()
        assert row is not None  # noqa: S101 - inserted above
        connection.execute(
            f"update {SCHEMA}.etl_run set contract_version = %s where run_id = %s", (row[0], hold.run_id)
        )
    return int(row[0])
