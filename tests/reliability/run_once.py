"""Runs one partition of one source in this process, to be killed by a test: `run_once.py JSON`."""

import json
import sys

import dagster as dg

from kasparro_pipeline import components
from kasparro_pipeline.components.kept_connections import in_process_executor
from kasparro_pipeline.components.resources import Warehouse


def main() -> None:
    """Materialize `partition` of a source named `it`."""
    asked = json.loads(sys.argv[1])
    component = getattr(components, asked["component"])
    definitions = dg.Definitions.merge(
        component(component.spec_class.model_validate(asked["attributes"])).definitions("it"),
        dg.Definitions(
            resources={"warehouse": Warehouse(database_url=asked["database_url"])},
            executor=in_process_executor,
        ),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        if asked["component"] == "CsvSource":
            instance.add_dynamic_partitions("it_files", [asked["partition"]])
        job = definitions.resolve_job_def("it")
        job.execute_in_process(partition_key=asked["partition"], instance=instance)


if __name__ == "__main__":
    main()
