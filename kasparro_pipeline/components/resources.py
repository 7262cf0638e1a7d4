"""The resources that assets ask for."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from kasparro_pipeline.components.kept_connections import keep_connections
from kasparro_pipeline.warehouse import connection, revision
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.settings import WarehouseSettings


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster leaves its parameter to runtime
    """Opens connections to the warehouse. Without a URL, DATABASE_URL of the environment or `.env` counts."""

    database_url: str | None = None

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Before the first step of a run, or of the process of a step: it keeps Dagster's connections."""
        if context.run is not None and context.instance is not None:
            keep_connections(context.instance)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection to a migrated warehouse, closed at the end.

        Raises:
            WarehouseNotConfiguredError: no URL is set.
            MigrationsPendingError: the database is at another revision.
            psycopg.OperationalError: the server cannot be reached.
        """
        settings = WarehouseSettings()
        if self.database_url is not None:
            settings = WarehouseSettings.model_validate({"DATABASE_URL": self.database_url})
        with connection.connect(settings) as open_connection:
            revision.require_head(open_connection)
            yield open_connection
