"""A port that is taken is found before anything is started, with what to do."""

import os
import socket
from collections.abc import Iterator

import pytest

from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.ports import Port, any_free, is_free, require_free

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_named_with_its_holder_and_its_variable(taken: int) -> None:
    expected = (
        rf"Port {taken}, for the API, is taken by .*\(process {os.getpid()}\).*KASPARRO_API_PORT={taken + 1}"
    )
    with pytest.raises(StackError, match=expected):
        require_free(HOST, [Port(taken, "the API", "KASPARRO_API_PORT")])


def test_every_taken_port_is_named_at_once(taken: int) -> None:
    with socket.create_server((HOST, 0)) as other:
        second = other.getsockname()[1]
        with pytest.raises(StackError) as refused:
            require_free(HOST, [Port(taken, "the API", "A"), Port(second, "Dagster", "B")])
    assert f"Port {taken}" in str(refused.value)
    assert f"Port {second}" in str(refused.value)


def test_two_uses_of_one_port_are_refused() -> None:
    port = any_free(None)
    with pytest.raises(StackError, match=f"A and B are both {port}"):
        require_free(HOST, [Port(port, "the API", "A"), Port(port, "Dagster", "B")])


def test_free_ports_are_let_through() -> None:
    require_free(HOST, [Port(any_free(None), "the API", "A")])


def test_a_connection_that_has_just_ended_does_not_keep_a_port() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((HOST, port)):
            server.accept()[0].close()
    assert is_free(HOST, port)


def test_the_preferred_port_is_kept_while_it_is_free(taken: int) -> None:
    port = any_free(None)
    assert any_free(port) == port
    assert any_free(taken) != taken


def test_a_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(StackError, match="is not an address of this machine"):
        is_free("nowhere.invalid", 1)
