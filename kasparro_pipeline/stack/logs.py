"""`kasparro logs`: the end of the stack's logs, and what is added to them."""

import time
from pathlib import Path
from typing import Never

from kasparro_pipeline.stack.console import say
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.processes import last_lines
from kasparro_pipeline.stack.settings import StackSettings

INTERVAL = 0.3


def show(settings: StackSettings, name: str | None, lines: int, *, follow: bool) -> int:
    """Print the last lines of one log, or of each; with `follow`, go on until Ctrl-C.

    Raises:
        StackError: there is no such log.
    """
    files = _files(settings.home / "logs", name)
    for file in files:
        if len(files) > 1:
            say(f"==> {file.stem} <==")
        for line in last_lines(file, lines):
            say(line)
    if not follow:
        return 0
    try:
        _follow(files)
    except KeyboardInterrupt:
        return 0


def _files(folder: Path, name: str | None) -> list[Path]:
    present = sorted(folder.glob("*.log"))
    current = [file for file in present if not file.stem.endswith(".previous")]
    if name is None and current:
        return current
    chosen = [file for file in present if file.stem == name]
    if not chosen:
        there = ", ".join(file.stem for file in present) or "none yet: start the stack with `make up`"
        raise StackError(f"There is no log {name or ''} in {folder}. There are: {there}.")
    return chosen


def _follow(files: list[Path]) -> Never:
    positions = {file: file.stat().st_size for file in files}
    while True:
        for file in files:
            size = file.stat().st_size if file.exists() else 0
            if size < positions[file]:
                positions[file] = 0  # started anew
            if size > positions[file]:
                with file.open("rb") as log:
                    log.seek(positions[file])
                    text = log.read(size - positions[file]).decode(errors="replace")
                positions[file] = size
                label = f"{file.stem}: " if len(files) > 1 else ""
                for line in text.splitlines():
                    say(f"{label}{line}")
        time.sleep(INTERVAL)
