"""What a run can be told, through the environment: `make bench ROWS=100000 ONLY=w1,w2`."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECTIONS = ("w1", "w2", "w3", "feed", "fixed", "backfill", "memory")
PEER_MODES = ("dict", "duckdb", "tuned", "rest")
"""The ways in which dlt loads."""
PEERS_PYTHON = Path(__file__).parents[3] / ".venv-peers" / "bin" / "python"


class LoadSettings(BaseSettings):
    """The settings of a run."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    rows: int = Field(default=1_000_000, ge=1_000, validation_alias="ROWS")
    """Rows of the file of w1; w2 has a tenth of them, w3 multiples."""
    rounds: int = Field(default=3, ge=1, validation_alias="ROUNDS")
    """How often every figure is taken; the medians are reported."""
    only: str = Field(default="", validation_alias="ONLY")
    """Sections to run, between commas or blanks; empty: all but memory."""
    sizes: str = Field(default="0.1 1 3 10", validation_alias="SIZES")
    """Sizes of the table of w3, as multiples of ROWS, between commas or blanks."""
    memory_rows: int | None = Field(default=None, ge=1_000, validation_alias="MEMORY_ROWS")
    """Rows of the file of the section memory, which runs if this or ONLY asks for it."""
    partitions: int = Field(default=30, ge=1, validation_alias="PARTITIONS")
    """Partitions of a backfill."""
    stock_partitions: int = Field(default=5, ge=1, validation_alias="STOCK_PARTITIONS")
    """Partitions of the same with Dagster's stock executor, which takes a minute for each."""
    peers: str = Field(default="yes", validation_alias="PEERS")
    """Whether the peers are measured too: yes, no, or which of them, between commas or blanks."""
    home: Path = Field(default=Path(".kasparro-bench"), validation_alias="BENCH_HOME")
    """Where the server, the files and the results are kept between runs."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("only")
    @classmethod
    def _known(cls, only: str) -> str:
        unknown = [name for name in _words(only) if name not in SECTIONS]
        if unknown:
            raise ValueError(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
        return only

    @field_validator("peers")
    @classmethod
    def _known_peers(cls, peers: str) -> str:
        unknown = [name for name in _words(peers) if name not in PEER_MODES]
        if peers not in {"yes", "no"} and (unknown or not _words(peers)):
            raise ValueError(f"yes, no, or some of {', '.join(PEER_MODES)}")
        return peers

    @property
    def measured_peers(self) -> tuple[str, ...]:
        """The peers that are measured too."""
        return (
            PEER_MODES
            if self.peers == "yes"
            else tuple(name for name in PEER_MODES if name in _words(self.peers))
        )

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections to run, in their fixed order."""
        asked = _words(self.only)
        chosen = asked or [name for name in SECTIONS if name != "memory"]
        if self.memory_rows is not None and not asked:
            chosen = list(SECTIONS)
        return tuple(name for name in SECTIONS if name in chosen)

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """Rows that the table of w3 already holds, smallest first."""
        return tuple(sorted(int(float(size) * self.rows) for size in _words(self.sizes)))


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
