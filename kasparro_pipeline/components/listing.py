"""What the sources of this deployment are, as JSON: `python -m kasparro_pipeline.components.listing`.

Only what their `defs.yaml` say; how they are doing is in the warehouse.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kasparro_pipeline.components import defs_folder
from kasparro_pipeline.components.defs_folder import DefsFileError
from kasparro_pipeline.components.trial import DEFS
from kasparro_pipeline.contract.json_text import to_json


def described(defs: Path, name: str) -> dict[str, Any]:
    """A source's kind and what starts its runs; of a file that makes no source, why."""
    try:
        component = defs_folder.component(defs, name)
        kind = component.source(name).kind
    except (DefsFileError, ValueError) as error:
        return {"source": name, "kind": None, "runs": None, "problem": str(error)}
    schedule = getattr(component.spec, "schedule", None)
    every = getattr(component.spec, "check_every", None)
    runs = f"schedule {schedule}" if schedule else None
    if every is not None:
        runs = f"sensor, every {int(every.total_seconds())} s"
    return {"source": name, "kind": kind, "runs": runs, "problem": None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sources as JSON, by name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--defs", type=Path, default=DEFS)
    chosen = parser.parse_args(arguments)
    found = [described(chosen.defs, name) for name in defs_folder.names(chosen.defs)]
    sys.stdout.buffer.write(to_json(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
