"""What a run can be told, through the environment: `make bench-api ROWS=100000 ONLY=rates`."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECTIONS = ("rates", "matrix", "search", "export", "operation", "loading")


class BenchSettings(BaseSettings):
    """The settings of a run."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    rows: int = Field(default=1_000_000, ge=10_000, validation_alias="ROWS")
    """Unified records."""
    rounds: int = Field(default=3, ge=1, validation_alias="ROUNDS")
    """How often every figure is taken; the medians are reported."""
    seconds: int = Field(default=5, ge=1, validation_alias="SECS")
    """Length of one measurement under load."""
    only: str = Field(default="", validation_alias="ONLY")
    """Sections to run, between commas or blanks; empty: all."""
    home: Path = Field(default=Path(".kasparro-bench"), validation_alias="BENCH_HOME")
    """Where the server, the data and the results are kept between runs."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("only")
    @classmethod
    def _known(cls, only: str) -> str:
        unknown = [name for name in only.replace(",", " ").split() if name not in SECTIONS]
        if unknown:
            raise ValueError(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
        return only

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections to run, in their fixed order."""
        asked = self.only.replace(",", " ").split()
        return tuple(name for name in SECTIONS if name in asked) if asked else SECTIONS
