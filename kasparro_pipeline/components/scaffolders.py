"""What `dg scaffold defs` calls for each kind of source. What is inferred, and how, belongs to `scaffold`."""

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import yaml
from pydantic import BaseModel, ValidationError

from kasparro_pipeline.components.settings import secrets
from kasparro_pipeline.extract.errors import UpstreamError
from kasparro_pipeline.scaffold import csv_file, feed, rest
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.params import CsvParams, FeedParams, RestParams, SourceParams

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class SourceScaffolder(dg.Scaffolder[Any]):
    """Writes the `defs.yaml` of a source, or nothing."""

    params: ClassVar[type[SourceParams]]
    project = Path()
    """The folder that relative paths count from."""

    def make(self, params: Any, name: str, kind: str, today: date) -> str:  # noqa: ANN401 - of the class `params`
        """The text of the file, from a sample of the upstream."""
        raise NotImplementedError

    @classmethod
    def get_scaffold_params(cls) -> type[BaseModel]:
        """The params, of which `dg` makes options."""
        return cls.params

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the file; a refusal leaves no folder behind, so that the command can be given again.

        Raises:
            SystemExit: a sentence that says what is wrong, where, and what to do.
        """
        file = request.target_path / "defs.yaml"
        try:
            text = self._text(request)
            with file.open("x", encoding="utf-8") as written:
                written.write(text)
        except FileExistsError as error:
            raise SystemExit(
                f"{file} is there already, and is left as it is. Choose another name."
            ) from error
        except (ScaffoldError, UpstreamError) as error:
            with suppress(OSError):
                request.target_path.rmdir()  # only an empty one goes
            raise SystemExit(str(error)) from error

    def _text(self, request: dg.ScaffoldRequest[Any]) -> str:
        """The text, which loads.

        Raises:
            ScaffoldError: the name is none for Dagster, or there is no sample to infer from.
        """
        self.project = request.project_root or self.project
        name = request.target_path.name
        if request.scaffold_format != "yaml":
            raise ScaffoldError("A source is a defs.yaml: leave `--format python` out.")
        if not _NAME.fullmatch(name):
            raise ScaffoldError(f"{name!r} cannot be a source's name: letters, digits and _, a letter first.")
        kind = request.params.kind or _kind_of(name)
        text = self.make(request.params, name, kind, datetime.now(UTC).date())
        _require_loadable(request.type_name, text)
        return text


class RestScaffolder(SourceScaffolder):
    """Asks an API for a page or two."""

    params = RestParams

    def make(self, params: RestParams, name: str, kind: str, today: date) -> str:
        """The text of the file, from a page or two."""
        return rest.make(params, name, kind, secrets(), today)


class CsvScaffolder(SourceScaffolder):
    """Reads the first rows of the newest file."""

    params = CsvParams

    def make(self, params: CsvParams, name: str, kind: str, today: date) -> str:
        """The text of the file, from the newest of the files."""
        return csv_file.make(params, name, kind, self.project, today)


class FeedScaffolder(SourceScaffolder):
    """Asks a feed once."""

    params = FeedParams

    def make(self, params: FeedParams, name: str, kind: str, today: date) -> str:
        """The text of the file, from the entries that the feed has now."""
        return feed.make(params, name, kind, today)


def _require_loadable(type_name: str, text: str) -> None:
    from kasparro_pipeline import components  # noqa: PLC0415 - which imports this module

    component = getattr(components, type_name.rpartition(".")[2])
    try:
        component.spec_class.model_validate(yaml.safe_load(text)["attributes"])
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)
        )
        raise ScaffoldError(f"What the sample gives is no source: {said}. Correct the params.") from error


def _kind_of(name: str) -> str:
    """What one record is, by the source's name: `coinpaprika_tickers` has tickers."""
    word = name.lower().rpartition("_")[2] or name.lower()
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    singular = word.removesuffix("s") if not word.endswith("ss") else word
    return singular if singular[:1].isalpha() else "record"
