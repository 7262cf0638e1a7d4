"""What the components share: a strict reading of `defs.yaml`, and the Dagster definitions of a source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
from pydantic import BaseModel

from kasparro_pipeline.components.assets import build_assets
from kasparro_pipeline.components.checks.unified import freshness
from kasparro_pipeline.components.replay import build_replay
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.components.source_spec import SourceSpec

Automation = dg.ScheduleDefinition | dg.SensorDefinition


class SourceComponent(dg.Component):
    """A source; its kind is a subclass."""

    spec_class: ClassVar[type[SourceSpec]]

    def __init__(self, spec: Any) -> None:  # noqa: ANN401 - an instance of spec_class
        self.spec = spec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The strict model of `attributes`: what breaks it is reported with file, line and allowed values."""
        return cls.spec_class

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Make the component of its validated attributes."""
        _ = context
        return cls(attributes)

    def source(self, name: str) -> Source:
        """The source under its name."""
        raise NotImplementedError

    def automation(self, source: Source, job: Any) -> Sequence[Automation]:  # noqa: ANN401 - Dagster's job
        """The schedule or sensor of the source."""
        raise NotImplementedError

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the source, which is named like its folder."""
        folder = context.component_path.file_path
        return self.definitions(folder.name, folder / "defs.yaml")

    def definitions(self, name: str, defs_file: Path | None = None) -> dg.Definitions:
        """The source's assets, checks, job and automation under a name."""
        source = self.source(name)
        source.defs_file = defs_file
        job = dg.define_asset_job(
            source.name,
            selection=dg.AssetSelection.groups(source.name),
            description=f"Extract, validate and merge one partition of {source.name}.",
            tags={"kasparro/source": source.name, "kasparro/kind": source.kind},
        )
        automation = self.automation(source, job)
        return dg.Definitions(
            assets=build_assets(source),
            asset_checks=[freshness(source)],
            jobs=[job, build_replay(source)],
            schedules=[item for item in automation if isinstance(item, dg.ScheduleDefinition)],
            sensors=[item for item in automation if isinstance(item, dg.SensorDefinition)],
        )
