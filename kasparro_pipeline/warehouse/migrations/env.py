"""Alembic's entry: applies the revisions online, one migrator at a time."""

from alembic import context
from sqlalchemy import create_engine, pool, text

# They add their tables to the metadata
from kasparro_pipeline.warehouse import (  # noqa: F401
    drift_tables,
    feed_states,
    history,
    measurements,
    repeated,
    snapshot_tables,
    totals,
    validated_tables,
)
from kasparro_pipeline.warehouse.tables import SCHEMA, metadata

MIGRATION_LOCK = 0x6B617370  # any constant that nothing else in the database locks on

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    connection.execute(text("select pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.execute(text(f"create schema if not exists {SCHEMA}"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
