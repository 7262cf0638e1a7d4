"""The sandbox as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import requests

from tests.unit.sandbox.conftest import DATA


def start(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kasparro_pipeline.stack.sandbox"],
        env=os.environ | {"KASPARRO_DATA": str(DATA), "KASPARRO_HOST": "127.0.0.1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_module_serves_on_the_port_of_the_environment_and_stops_on_an_interrupt() -> None:
    port = free_port()
    with start(KASPARRO_SANDBOX_PORT=str(port)) as process:
        try:
            for _ in range(200):
                assert process.poll() is None, process.communicate()
                with suppress(requests.ConnectionError):
                    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()

    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(KASPARRO_SANDBOX_PORT=str(taken.getsockname()[1])) as process:
            _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "Address already in use" in err
    assert "set KASPARRO_SANDBOX_PORT to a free one" in err
    assert "Traceback" not in err
