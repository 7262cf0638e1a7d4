"""Load over HTTP by wrk, and the reading of what it prints."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_TIMEOUT = 30
"""Seconds until wrk gives a request up."""

RANDOM_RECORD = """\
math.randomseed(os.time())
request = function()
  return wrk.format("GET", string.format("{path}", math.random({first}, {last})))
end
"""
"""A script that asks for records at random; `{path}` holds one `%d`."""

RANDOM_PATH = """\
math.randomseed(os.time())
local paths = {{{paths}}}
request = function()
  return wrk.format("GET", paths[math.random(#paths)])
end
"""
"""A script that asks for one of some paths at random."""


@dataclass(frozen=True)
class Load:
    """What came of a load."""

    requests: int
    rate: float
    """Requests a second."""
    p50: float
    """Milliseconds."""
    p99: float
    """Milliseconds."""
    failures: int
    """Answers of 4xx and 5xx, and connections that broke or timed out."""


def missing() -> str | None:
    """Why there can be no load, if so."""
    return None if shutil.which("wrk") else "wrk is not installed (apt install wrk)"


def load(
    url: str, connections: int, seconds: int, headers: Mapping[str, str], script: str | None = None
) -> Load:
    """Ask for `url` over some connections for some seconds, as fast as answers come.

    Raises:
        RuntimeError: nothing was answered.
    """
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", f"{_TIMEOUT}s", "--latency"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    with tempfile.TemporaryDirectory() as folder:
        if script is not None:
            path = Path(folder) / "script.lua"
            path.write_text(script)
            command += ["--script", str(path)]
        done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    return parsed(done.stdout, done.stderr)


def parsed(output: str, errors: str = "") -> Load:
    """What wrk printed, as figures.

    Raises:
        RuntimeError: it holds no figures.
    """
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if requests is None or rate is None or int(requests[1]) == 0:
        raise RuntimeError(f"wrk measured nothing: {output[-500:]} {errors[-500:]}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    failures = int(refused[1]) if refused else 0
    failures += sum(map(int, broken.groups())) if broken else 0
    return Load(int(requests[1]), float(rate[1]), _percentile(output, 50), _percentile(output, 99), failures)


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk printed no {percent}th percentile: {output[-500:]}")
    return float(found[1]) * _UNITS[found[2]]
