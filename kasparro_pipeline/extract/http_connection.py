"""A connection to one host, kept open from answer to answer. Every wait on it counts against a deadline.

What an answer means, and whether to ask again, belongs to `http`; which addresses may be reached is decided
by the `Dial` that is handed in.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import certifi
import urllib3
from urllib3 import HTTPHeaderDict
from urllib3.util import wait_for_read

from kasparro_pipeline.extract.urls import PORTS, Origin

Dial = Callable[[str, int, float], socket.socket]
"""Opens a socket to a host and port within some seconds."""


class Patience:
    """How long one answer may take: seconds for a connection, for the next bytes, and as a whole from now."""

    def __init__(self, connect: float, read: float, total: float) -> None:
        self._connect, self._read, self._total = connect, read, total
        self._deadline = time.monotonic() + total

    def for_connection(self) -> float:
        """Seconds to wait for a connection.

        Raises:
            TimeoutError: the time is over.
        """
        return min(self._connect, self._left())

    def for_bytes(self) -> float:
        """Seconds to wait for the next bytes.

        Raises:
            TimeoutError: the time is over.
        """
        return min(self._read, self._left())

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not within total_timeout, {self._total:g} s")
        return left


class Connection:
    """Sends one request after the other to an origin. Not for several threads at once."""

    def __init__(self, origin: Origin, dial: Dial) -> None:
        self._http = _Http(origin, dial)
        self._interrupted = False

    def ask(
        self, target: str, headers: Mapping[str, str], patience: Patience, form: bytes | None = None
    ) -> urllib3.HTTPResponse:
        """GET a target (path and query), or POST a form to it.

        Read the answer's body to its end, or call `close`, before asking again.

        Raises:
            OSError: the connection failed or timed out.
            http.client.HTTPException: what came is no HTTP, or the target cannot be sent.
            ValueError: a header cannot be sent.
        """
        if self._interrupted:
            raise ConnectionAbortedError("the extraction has ended")
        self._http.patience = patience
        if self._http.sock is not None and wait_for_read(self._http.sock, timeout=0):
            self._http.close()  # the server has left in the meantime
        kept_open = self._http.sock is not None
        try:
            answer = self._ask(target, headers, form)
        except ConnectionError:
            self._http.close()
            if not kept_open or self._interrupted:
                raise
            # a server may close an idle connection while a request is on its way (RFC 9112 9.3.1)
            answer = self._ask(target, headers, form)
        return urllib3.HTTPResponse(
            body=answer,
            headers=HTTPHeaderDict(answer.getheaders()),
            status=answer.status,
            reason=answer.reason,
            preload_content=False,
            original_response=answer,
            request_method="GET" if form is None else "POST",
        )

    def close(self) -> None:
        """Close it; the next request opens it again."""
        self._http.close()

    def interrupt(self) -> None:
        """End for good, from another thread, what is being waited for."""
        self._interrupted = True
        if (held := self._http.sock) is not None:
            with suppress(OSError):  # it has ended by itself
                held.shutdown(socket.SHUT_RDWR)

    def _ask(self, target: str, headers: Mapping[str, str], form: bytes | None) -> http.client.HTTPResponse:
        if self._http.sock is not None:
            self._http.sock.settimeout(self._http.patience.for_bytes())
        self._http.request("GET" if form is None else "POST", target, form, dict(headers))
        return self._http.getresponse()


class _Http(http.client.HTTPConnection):
    patience: Patience

    def __init__(self, origin: Origin, dial: Dial) -> None:
        super().__init__(origin.host, origin.port)
        self.default_port = PORTS[origin.scheme]  # the header Host names no default port
        self._tls = origin.scheme == "https"
        self._dial = dial
        self.response_class = self._answer  # type: ignore[assignment]  # called like the class

    def connect(self) -> None:
        opened = self._dial(self.host, self.port, self.patience.for_connection())
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.settimeout(self.patience.for_connection())
            self.sock = trusted().wrap_socket(opened, server_hostname=self.host) if self._tls else opened
            self.sock.settimeout(self.patience.for_bytes())
        except BaseException:
            opened.close()
            raise

    def _answer(self, sock: socket.socket, *, method: str | None = None) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(sock, method=method)
        # a server that drips its header byte by byte would renew a time-out of the socket with each byte
        answer.fp = io.BufferedReader(_Timed(answer.fp.detach(), sock, self.patience))
        return answer


class _Timed(io.RawIOBase):
    """Reads from a socket, each time for as long as patience lasts."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, patience: Patience) -> None:
        self._raw, self._sock, self._patience = raw, sock, patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        self._sock.settimeout(self._patience.for_bytes())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


@cache
def trusted() -> ssl.SSLContext:
    """Certificates and host names are verified, against the machine's authorities and Mozilla's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
