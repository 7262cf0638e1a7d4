"""Looks up the addresses of a host, within some seconds. Which of them may be reached is for `address_guard`.

The system's look-up takes no time-out, and may take minutes where a name server is silent. So it is made in a
thread, which is left to itself when the time is over.
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]
LookUp = Callable[[str, int], Found]
"""Finds the addresses of a host, as `socket.getaddrinfo` does; it may take as long as it likes."""


def system_look_up(host: str, port: int) -> Found:
    """Ask the system: its file of hosts, its name servers."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def addresses_of(host: str, port: int, seconds: float, look_up: LookUp = system_look_up) -> Found:
    """The addresses of a host.

    Raises:
        TimeoutError: none within `seconds`.
        OSError: the name is not known.
        UnicodeError: it is no name.
    """
    if _is_address(host):
        return look_up(host, port)  # nothing has to be asked
    answer: SimpleQueue[Found | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(look_up(host, port))
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            answer.put(error)

    Thread(target=ask, name="look-up", daemon=True).start()
    try:
        found = answer.get(timeout=max(0.0, seconds))
    except Empty:
        raise TimeoutError(f"the name {host} was not looked up within {seconds:.3g} s") from None
    if isinstance(found, Exception):
        raise found
    return found


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
