"""A CSV file at one HTTP address. It is asked for conditionally, and looked at before it is loaded."""

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from kasparro_pipeline.extract.auth import Credentials
from kasparro_pipeline.extract.csv_place import SETTLE_SECONDS, FoundFile, ReceivedFile
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.http_answer import NO_BODY, Response

VALIDATORS = ("etag", "last-modified")
LOOKING = {"attempts": 1, "connect_timeout": 5, "read_timeout": 10, "total_timeout": 20}
"""A sensor has 60 s for its tick, and will look again at the next one: it does not retry."""


class Address:
    """The one file of an address, named like the last part of its path."""

    def __init__(self, url: str, http: HttpSettings, credentials: Credentials, max_bytes: int) -> None:
        self._url, self._credentials = url, credentials
        self._http = http.model_copy(update={"max_bytes": max_bytes})
        parts = urlsplit(url)
        self.name = unquote(PurePosixPath(parts.path).name) or str(parts.hostname)

    def listing(self, known: Callable[[str], KnownDocument | None]) -> list[FoundFile]:
        """The file, unless it was changed just now. Only a file that its server gives no state of is loaded.

        Raises:
            UpstreamError: there is none, or it cannot be had.
        """
        stored = known(self.name)
        with Client(self._http.model_copy(update=LOOKING), self._credentials) as client:
            answer = client.fetch(self._url, known=stored, into=NO_BODY)
        if answer.body is None and stored is not None:
            return [FoundFile(self.name, 0, stored.headers.get("state", ""))]
        if _is_fresh(answer):
            return []
        state = _state(answer)
        if not state:
            received = self._load(LOOKING)
            with received.opened:
                state = received.headers["state"]
        return [FoundFile(self.name, 0, state)]

    def state(self, found: FoundFile) -> str:
        """What the server says of the file's state; its digest, where it says nothing."""
        return found.state

    def receive(self, name: str) -> ReceivedFile:
        """The file, in a temporary one that has no name.

        Raises:
            UpstreamError: there is none, or it cannot be had.
        """
        if name != self.name:
            raise PermanentUpstreamError(f"the source's address names {self.name}, not {name}", self._url)
        return self._load({})

    def _load(self, patience: dict[str, int]) -> ReceivedFile:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())
            with Client(self._http.model_copy(update=patience), self._credentials) as client:
                answer = client.fetch(self._url, into=file)
            size = file.tell()
            file.seek(0)
            sha = hashlib.file_digest(file, "sha256")
            kept = {name: answer.headers[name] for name in VALIDATORS if name in answer.headers}
            headers = {"path": self._url, "state": _state(answer) or sha.hexdigest()} | kept
            return ReceivedFile(file, self._url, sha.digest(), size, headers, opened=stack.pop_all())


def _state(answer: Response) -> str:
    return next((answer.headers[name] for name in VALIDATORS if name in answer.headers), "")


def _is_fresh(answer: Response) -> bool:
    """Whether the file was changed so lately, by its server's own clock, that it may still grow."""
    try:
        moments = [parsedate_to_datetime(answer.headers[name]) for name in ("date", "last-modified")]
    except (KeyError, ValueError):
        return False
    now, changed = moments
    return abs((now - changed).total_seconds()) < SETTLE_SECONDS
