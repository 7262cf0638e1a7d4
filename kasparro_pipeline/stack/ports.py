"""Whether the stack's ports are free, and who holds one that is not. Nothing is started here."""

import socket
from dataclasses import dataclass

import psutil

from kasparro_pipeline.stack.errors import StackError


@dataclass(frozen=True)
class Port:
    """A port that the stack needs, and the variable that changes it."""

    number: int
    use: str
    variable: str


def require_free(host: str, ports: list[Port]) -> None:
    """Refuse to start when a port is taken.

    Raises:
        StackError: with every port that is taken or named twice, its holder, and what changes it.
    """
    sentences = []
    seen: dict[int, Port] = {}
    for port in ports:
        if port.number in seen:
            sentences.append(f"{seen[port.number].variable} and {port.variable} are both {port.number}.")
        elif not is_free(host, port.number):
            sentences.append(
                f"Port {port.number}, for {port.use}, is taken{_holder(port.number)}. "
                f"Stop that, or choose another port: {port.variable}={port.number + 1}"
            )
        seen[port.number] = port
    if sentences:
        raise StackError("\n".join(sentences))


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise StackError(
            f"KASPARRO_HOST={host} is not an address of this machine: {error.strerror}"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a connection that has just ended does not keep the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def any_free(preferred: int | None) -> int:
    """A free port of the loopback address: the preferred one if it is free."""
    if preferred is not None and is_free("127.0.0.1", preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells only root
        return ""
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
            try:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.NoSuchProcess:
                return ""
    return ""
