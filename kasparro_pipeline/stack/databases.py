"""Finds or starts the two databases: the warehouse and Dagster's own. Their tables are no concern here."""

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse.settings import WarehouseSettings

WAREHOUSE = "kasparro"
DAGSTER = "dagster"
OLDEST_SERVER = 15


@dataclass(frozen=True)
class Databases:
    """The addresses, and whether Dagster's database is this stack's alone."""

    warehouse_url: str
    dagster_url: str
    dagster_is_embedded: bool


def dagster_url(url: str) -> str:
    """A PostgreSQL URL in the spelling that Dagster's storage needs.

    SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3, which refuses the NOTIFY that dagster-postgres
    sends with every event.

    Raises:
        StackError: it is not a PostgreSQL URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise StackError(
            "DAGSTER_DATABASE_URL must be a PostgreSQL URL: postgresql://user:password@host:5432/dagster"
        )
    return f"postgresql+psycopg2://{rest}"


def sibling_url(url: str, database: str) -> str:
    """The URL of another database of the same server."""
    # Not urllib: it drops the slashes of a URL without a host, which is how a socket is written
    address, question_mark, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{database}{question_mark}{query}"


def open_databases(settings: StackSettings, embedded: EmbeddedPostgres | None) -> Databases:
    """Start the embedded server if there is one, make the databases that are missing, check the versions.

    Raises:
        StackError: a server does not answer, is too old, or lacks a database that may not be made.
    """
    if embedded is not None:
        embedded.start()
        embedded.create_database(WAREHOUSE)
    warehouse = embedded.url(WAREHOUSE) if embedded else _plain(settings.database_url)
    _check_server(warehouse, "DATABASE_URL")
    given = settings.dagster_database_url
    plain = dagster_url(given).replace("+psycopg2", "", 1) if given else sibling_url(warehouse, DAGSTER)
    if _server(plain) == _server(warehouse):
        _make_database(warehouse, plain)
    _check_server(plain, "DAGSTER_DATABASE_URL")
    dagster_is_embedded = given is None and embedded is not None
    return Databases(warehouse, dagster_url(plain), dagster_is_embedded)


def embedded_server(settings: StackSettings) -> EmbeddedPostgres | None:
    """The embedded server of the state folder, as it is; None if `DATABASE_URL` names another."""
    if settings.database_url is not None:
        return None
    return EmbeddedPostgres(settings.home / "postgres", log=settings.home / "logs" / "postgres.log")


def _plain(url: str | None) -> str:
    return WarehouseSettings.model_validate({"DATABASE_URL": url}).require_database_url()


def _check_server(url: str, variable: str) -> None:
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.OperationalError as error:
        raise StackError(f"The database of {variable} does not answer: {str(error).strip()}") from error
    if version < OLDEST_SERVER:
        raise StackError(
            f"The server of {variable} is PostgreSQL {version}; {OLDEST_SERVER} or later is needed. "
            "Unset the variable to use the embedded server."
        )


def _server(url: str) -> tuple[object, object]:
    parts = conninfo_to_dict(url)
    return parts.get("host"), parts.get("port")


def _make_database(warehouse_url: str, url: str) -> None:
    """Make the database of `url`, on the warehouse's server, unless it is there."""
    name = str(conninfo_to_dict(url).get("dbname", DAGSTER))
    with psycopg.connect(warehouse_url, connect_timeout=10, autocommit=True) as connection:
        if connection.execute("select from pg_database where datname = %s", [name]).fetchone():
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.errors.DuplicateDatabase:
            return  # made by another process in between
        except psycopg.errors.InsufficientPrivilege as error:
            raise StackError(
                f"The user of DATABASE_URL may not create the database {name!r} that Dagster keeps its own "
                "records in. Create it, or set DAGSTER_DATABASE_URL to another one."
            ) from error
