"""Runs a partition as `run_once` does; prints the peak of the process in bytes, and what failed."""

from pathlib import Path

from tests.reliability import run_once


def main() -> None:
    """Materialize; a run that fails is part of what is measured."""
    failed = ""
    try:
        run_once.main()
    except Exception as error:  # noqa: BLE001 - told to the test
        failed = f"{type(error).__name__}: {error}"
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024, failed)


if __name__ == "__main__":
    main()
