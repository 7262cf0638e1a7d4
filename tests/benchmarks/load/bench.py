"""What the sections share: the settings, the server, the figures, and who loads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figures
from tests.benchmarks.load import articles, measured, sources
from tests.benchmarks.load.databases import Databases
from tests.benchmarks.load.settings import PEER_MODES, PEERS_PYTHON, LoadSettings

OURS = "ours"
DICT, DUCKDB, TUNED, REST = "dlt dict", "dlt duckdb", "dlt tuned", "dlt rest_api"
PEERS = dict(zip((DICT, DUCKDB, TUNED, REST), PEER_MODES, strict=True))
COPY, FETCH = "COPY", "bare fetch"


@dataclass(frozen=True)
class Bench:
    """A run of the benchmark."""

    settings: LoadSettings
    databases: Databases
    figures: Figures

    @property
    def has_peers(self) -> bool:
        """Whether there is a peer to be measured that can be."""
        return any(map(self.measures, PEERS))

    def measures(self, variant: str) -> bool:
        """Whether somebody is to be measured, and can be."""
        mode = PEERS.get(variant)
        return mode is None or (mode in self.settings.measured_peers and PEERS_PYTHON.exists())

    def files(self, rows: int) -> Path:
        """The folder of the files of a table of so many rows."""
        return self.settings.home / "files" / f"{rows}-{articles.FORMAT}"

    def make(self, variant: str, purpose: str) -> str:
        """A fresh database for somebody, by name."""
        name = f"bench_{purpose}_{variant}".replace(" ", "_")
        self.databases.make(name, migrated=variant == OURS)
        return name

    def load_file(self, variant: str, database: str, path: Path) -> dict[str, float]:
        """The figures of loading one file."""
        if variant == OURS:
            return self.run(database, "CsvSource", sources.csv_source(path.parent), path.name)
        if variant == COPY:
            order = {"floor": "copy", "url": self.databases.url(database), "file": str(path)}
            return measured.floor(self.databases, order)
        return self.run_peer(variant, database, {"file": str(path)})

    def run(
        self,
        database: str,
        component: str,
        attributes: Mapping[str, Any],
        partition: str,
        *,
        sensor: bool = False,
    ) -> dict[str, float]:
        """The figures of a run of ours, or of one tick of its sensor."""
        order = {
            "component": component,
            "attributes": attributes,
            "source": sources.NAME,
            "partition": partition,
            "url": self.databases.url(database),
            "sensor": sensor,
        }
        return measured.ours(self.databases, order)

    def run_peer(self, variant: str, database: str, order: Mapping[str, Any]) -> dict[str, float]:
        """The figures of a run of dlt, whose working files are those of the database."""
        full = {
            **order,
            "mode": PEERS[variant],
            "database": database,
            "url": self.databases.peers_url(database),
            "folder": str(self.settings.home / "dlt" / "pipelines"),
        }
        return measured.dlt(self.databases, full)

    def keep(
        self, section: str, case: str, variant: str, number: int, values: dict[str, float], rows: int
    ) -> None:
        """Keep the figures of a load of `rows` records in round `number`."""
        self.figures.add(
            section,
            case,
            variant,
            {"rows": rows, "rate": rows / values["seconds"], **values},
            number=number,
            shown=("seconds", "rate", "client_mib", "server_mib", "wal_mib", "inserted", "updated"),
        )
