"""CSV files in object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

Objects are whole or not there: what is listed does not grow. Credentials are named in the spec and come from
the environment; nothing is taken from the machine's own settings or from a cloud's metadata service.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from kasparro_pipeline.extract.address_guard import require_reachable
from kasparro_pipeline.extract.auth import Credentials
from kasparro_pipeline.extract.csv_place import FoundFile, ReceivedFile, split_pattern
from kasparro_pipeline.extract.csv_spec import ObjectStore
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError, UpstreamError
from kasparro_pipeline.extract.http import HttpSettings
from kasparro_pipeline.extract.urls import PORTS

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Credential

MAX_MESSAGE = 500
"""Characters that are told of what a store says."""
CHUNK = 8 * 1024 * 1024
_FOR_GOOD = (
    FileNotFoundError,
    exceptions.PermissionDeniedError,
    exceptions.UnauthenticatedError,
    exceptions.InvalidPathError,
    exceptions.NotSupportedError,
    exceptions.UnknownConfigurationKeyError,
)


class Bucket:
    """The objects that an address with wildcards names, such as `s3://bucket/folder/*.csv`.

    Raises:
        PermanentUpstreamError: an environment variable that the spec names is not set.
    """

    def __init__(
        self, pattern: str, spec: ObjectStore, http: HttpSettings, secrets: Mapping[str, str], max_bytes: int
    ) -> None:
        self._spec, self._http, self._max_bytes = spec, http, max_bytes
        self._scheme, _, path = pattern.partition("://")
        self._bucket, _, keys = path.partition("/")
        self._folder, self._wanted = split_pattern(keys)
        if missing := [name for name in spec.environment_names if not secrets.get(name, "").strip()]:
            raise PermanentUpstreamError(
                f"`store` names what is not set: {', '.join(missing)}; set it in the environment or in .env"
            )
        self._secrets = {name: secrets[name].strip() for name in spec.environment_names}
        self._credentials = Credentials(list(self._secrets.values()))

    def listing(self, _known: Callable[[str], KnownDocument | None] | None = None) -> list[FoundFile]:
        """The objects, by name.

        Raises:
            PermanentUpstreamError: the credentials are refused, or the endpoint may not be reached.
            TransientUpstreamError: the store cannot be reached.
        """
        found = []
        with self._errors_told(self._uri("")):
            store = self._store()
            for some in obstore.list(store, self._folder or None):
                for entry in some:
                    name = entry["path"][len(self._folder) + 1 if self._folder else 0 :]
                    if self._wanted.fullmatch(name):
                        found.append(FoundFile(name, entry["size"], _state(entry)))
        return sorted(found, key=lambda file: file.name)

    def state(self, found: FoundFile) -> str:
        """Size and etag, or time, as listed: nothing is loaded."""
        return found.state

    def receive(self, name: str) -> ReceivedFile:
        """The object, in a temporary file that has no name.

        Raises:
            PermanentUpstreamError: it is gone, larger than `max_bytes`, or may not be had.
            TransientUpstreamError: the store cannot be reached, or the connection was lost.
        """
        if not self._wanted.fullmatch(name):
            raise PermanentUpstreamError("the object is not one of the source's `files`", self._uri(name))
        stack, sha, size = ExitStack(), hashlib.sha256(), 0
        uri = self._uri(name)
        with ExitStack() as until_here, self._errors_told(uri):
            file = stack.enter_context(tempfile.TemporaryFile())
            until_here.push(lambda *error: stack.close() if error[0] else None)
            answer = obstore.get(self._store(), f"{self._folder}/{name}" if self._folder else name)
            entry = answer.meta
            for chunk in answer.stream(min_chunk_size=CHUNK):
                size += len(chunk)
                if size > self._max_bytes:
                    raise PermanentUpstreamError(
                        f"the object has {entry['size']} bytes, more than `max_bytes`, {self._max_bytes}"
                    )
                sha.update(chunk)
                file.write(chunk)
            if size != entry["size"]:
                raise TransientUpstreamError(f"{size} bytes came of {entry['size']}")
        headers = {"path": uri, "state": _state(entry)}
        return ReceivedFile(file, uri, sha.digest(), size, headers, opened=stack)

    def _uri(self, name: str) -> str:
        return f"{self._scheme}://{'/'.join(filter(None, (self._bucket, self._folder, name)))}"

    def _store(self) -> S3Store | GCSStore | AzureStore:
        spec, http = self._spec, self._http
        client: ClientConfig = {
            "connect_timeout": timedelta(seconds=http.connect_timeout),
            "read_timeout": timedelta(seconds=http.read_timeout),
            "timeout": timedelta(seconds=http.total_timeout),
        }
        if spec.endpoint:
            parts = urlsplit(spec.endpoint)
            require_reachable(
                parts.hostname or "", parts.port or PORTS[parts.scheme], http.allow_private_hosts
            )
            client["allow_http"] = parts.scheme == "http"
        retry: RetryConfig = {
            "max_retries": http.attempts - 1,
            "retry_timeout": timedelta(seconds=http.total_timeout),
            "backoff": {
                "init_backoff": timedelta(seconds=http.backoff),
                "max_backoff": timedelta(seconds=http.max_wait),
            },
        }
        options: dict[str, Any] = {
            "client_options": client,
            "retry_config": retry,
            "skip_signature": spec.anonymous,
        }
        # what is not given, the library would take from the machine's own settings
        if self._scheme == "s3":
            address = spec.endpoint or f"https://s3.{spec.region}.amazonaws.com"
            options |= {"endpoint": address, "aws_endpoint_url_s3": address}
            if not spec.anonymous:
                options["credential_provider"] = self._access_key
            return S3Store(self._bucket, region=spec.region, **options)
        if self._scheme == "gs":
            options["base_url"] = spec.endpoint or "https://storage.googleapis.com"
            if not spec.anonymous:
                options["service_account_key"] = self._secret(spec.service_account_key_env)
            return GCSStore(self._bucket, **options)
        options["endpoint"] = spec.endpoint or f"https://{spec.account}.blob.core.windows.net"
        if not spec.anonymous:
            options["account_key"] = self._secret(spec.account_key_env)
        return AzureStore(self._bucket, account_name=spec.account, **options)

    def _access_key(self) -> "S3Credential":
        spec = self._spec
        return {
            "access_key_id": self._secret(spec.access_key_id_env) or "",
            "secret_access_key": self._secret(spec.secret_access_key_env) or "",
            "token": self._secret(spec.session_token_env),
            "expires_at": None,
        }

    def _secret(self, name: str | None) -> str | None:
        return self._secrets[name] if name else None

    @contextmanager
    def _errors_told(self, uri: str) -> Iterator[None]:
        """Tell what goes wrong as upstream errors, without secrets."""
        try:
            yield
        except UpstreamError as error:
            error.location = error.location or uri
            raise
        except (exceptions.BaseError, OSError, ValueError) as error:
            # the library's own account of its inner state follows behind an empty line
            said = self._credentials.hide(str(error).partition("\n\n")[0])[:MAX_MESSAGE]
            if isinstance(error, FileNotFoundError):
                said = f"the object is gone; its records stay as they are: {said}"
            kind = PermanentUpstreamError if isinstance(error, _FOR_GOOD) else TransientUpstreamError
            raise kind(said, uri) from None  # the cause might tell secrets


def _state(entry: "ObjectMeta") -> str:
    return f"{entry['size']}:{entry['e_tag'] or entry['last_modified'].isoformat()}"
