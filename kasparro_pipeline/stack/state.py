"""What a stack writes down about itself, in `<home>/stack.json`, and the lock that makes it the only one."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import filelock
import psutil

from kasparro_pipeline.stack.groups import is_alive


@dataclass(frozen=True)
class Recorded:
    """A process, told apart from a later one with the same id by when it was created."""

    pid: int
    created: float

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it is still there."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1
        except psutil.NoSuchProcess:
            return None
        return process if same and is_alive(process) else None


@dataclass
class State:
    """The record. Sandbox and code server keep their time and port from one start to the next."""

    command: str = ""
    supervisor: Recorded | None = None
    children: dict[str, Recorded] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    ready: bool = False
    code_server_port: int | None = None
    sandbox_opened: str = ""


def lock(home: Path) -> filelock.BaseFileLock:
    """The kernel's lock of a state folder: it ends with the process that holds it, however that ends."""
    home.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(home / "stack.lock", timeout=0)


def read(home: Path) -> State:
    """The record of the last start; an empty one when there was none or it cannot be read."""
    try:
        content = json.loads((home / "stack.json").read_text())
        supervisor = content.pop("supervisor")
        children = content.pop("children")
        return State(
            supervisor=Recorded(**supervisor) if supervisor else None,
            children={name: Recorded(**child) for name, child in children.items()},
            **content,
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # Half a record cannot be: it is replaced as a whole. One of another version is as good as none.
        return State()


def write(home: Path, state: State) -> None:
    """Replace the record. It holds the databases' passwords: only its owner may read it."""
    unfinished = home / "stack.json.unfinished"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(state), file, indent=2)
    unfinished.replace(home / "stack.json")


def own_process() -> Recorded:
    """This process."""
    process = psutil.Process()
    return Recorded(process.pid, process.create_time())
