"""How a source proves who it is: API keys, bearer tokens, basic authentication, OAuth 2 client credentials.

A spec names environment variables; it never holds a secret. Credentials put the secrets into requests at the
last moment, and take them out of whatever is told about a request.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Literal
from urllib.parse import quote, quote_plus, urlencode

from pydantic import Field

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.errors import PermanentUpstreamError, UpstreamError
from kasparro_pipeline.extract.urls import with_params, without_params

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Post = Callable[[str, Mapping[str, str], bytes], bytes]
"""Sends a form to an address with headers, and gives the answer's body."""
HIDDEN = "***"
SHORTEST_HIDDEN = 4
"""Characters of a secret from which on it is searched for in texts: shorter ones are in every text."""
RENEWED_BEFORE = 30
"""Seconds before its end at which a token is renewed."""


class ApiKey(StrictModel):
    """A key in a header or query parameter."""

    type: Literal["api_key"]
    """`api_key`"""
    name: str = Field(min_length=1)
    """Name of the header or query parameter."""
    location: Literal["header", "query"] = "header"
    """Where it is sent."""
    value_env: EnvironmentName
    """Environment variable that holds the key."""


class Bearer(StrictModel):
    """A token that does not change (RFC 6750)."""

    type: Literal["bearer"]
    """`bearer`"""
    token_env: EnvironmentName
    """Environment variable that holds the token."""


class Basic(StrictModel):
    """User name and password (RFC 7617)."""

    type: Literal["basic"]
    """`basic`"""
    username_env: EnvironmentName
    """Environment variable that holds the user name."""
    password_env: EnvironmentName
    """Environment variable that holds the password."""


class OAuth2ClientCredentials(StrictModel):
    """A token that is asked for, and renewed when it ends or is refused (RFC 6749 4.4)."""

    type: Literal["oauth2_client_credentials"]
    """`oauth2_client_credentials`"""
    token_url: str = Field(pattern=r"^https?://[^/@\s]+(/\S*)?$")
    """Address that gives tokens."""
    client_id_env: EnvironmentName
    """Environment variable that holds the client's id."""
    client_secret_env: EnvironmentName
    """Environment variable that holds the client's secret."""
    scope: str | None = None
    """Scopes to ask for, separated by spaces."""
    client_in: Literal["header", "body"] = "header"
    """How the client proves who it is: by basic authentication, or in the form (RFC 6749 2.3.1)."""


Auth = Annotated[ApiKey | Bearer | Basic | OAuth2ClientCredentials, Field(discriminator="type")]


def environment_names(auth: Auth | None) -> list[str]:
    """The environment variables that have to be set."""
    if auth is None:
        return []
    return [getattr(auth, name) for name in type(auth).model_fields if name.endswith("_env")]


def credentials(auth: Auth | None, secrets: Mapping[str, str]) -> "Credentials":
    """The credentials of a spec.

    Raises:
        PermanentUpstreamError: an environment variable that it names is not set, or empty.
    """
    names = environment_names(auth)
    if missing := [name for name in names if not secrets.get(name, "").strip()]:
        raise PermanentUpstreamError(
            f"`auth` names what is not set: {', '.join(missing)}; set it in the environment or in .env"
        )
    values = [secrets[name].strip() for name in names]  # a file's last line break is no part of a secret
    if isinstance(auth, ApiKey):
        sent = {auth.name: values[0]}
        return Credentials(values, **{"headers" if auth.location == "header" else "params": sent})
    if isinstance(auth, Bearer):
        return Credentials(values, headers={"Authorization": f"Bearer {values[0]}"})
    if isinstance(auth, Basic):
        return Credentials(values, headers={"Authorization": _basic(*values)})
    return TokenCredentials(auth, values) if auth else Credentials([])


class Credentials:
    """What is put into every request, and nowhere else."""

    def __init__(
        self,
        secrets: list[str],
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        self._headers, self._params = dict(headers or {}), dict(params or {})
        self._hidden: list[str] = []
        self._hide(*secrets, *self._headers.values())

    def headers(self, post: Post) -> dict[str, str]:  # noqa: ARG002 - for those that have to ask for a token
        """The headers that prove who asks."""
        return self._headers

    def sign(self, url: str) -> str:
        """The address that is really asked for."""
        return with_params(self.unsign(url), self._params) if self._params else url

    def unsign(self, url: str) -> str:
        """An address as it is told: without what proves who asks."""
        return without_params(url, self._params) if self._params else url

    def is_refused(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 - for those that can ask again
        """Take note of "401 Unauthorized". True: asking again with new headers may help."""
        return False

    def hide(self, text: str) -> str:
        """A text without any of the secrets."""
        for secret in self._hidden:
            text = text.replace(secret, HIDDEN)
        return text

    def _hide(self, *secrets: str) -> None:
        ways: tuple[Callable[[str], str], ...] = (
            str,
            quote,
            quote_plus,
            lambda text: quote(text, safe=""),
            lambda text: json.dumps(text)[1:-1],
            lambda text: repr(text)[1:-1],
            lambda text: repr(text.encode())[2:-1],  # as http.client shows a header that it refuses
        )
        written = {write(secret) for secret in secrets for write in ways}
        written |= {
            secret.partition(" ")[2] for secret in secrets if secret.startswith(("Basic ", "Bearer "))
        }
        hidden = {form for form in written if len(form) >= SHORTEST_HIDDEN} | set(self._hidden)
        # the longest first: one may be a part of another
        self._hidden = sorted(hidden, key=len, reverse=True)


class TokenCredentials(Credentials):
    """A token of OAuth 2, the same for all threads."""

    def __init__(self, auth: OAuth2ClientCredentials, values: list[str]) -> None:
        super().__init__([*values, _basic(*values)])
        self._auth, self._client = auth, values
        self._lock = threading.Lock()
        self._token: dict[str, str] | None = None
        self._renewed_at = 0.0

    def headers(self, post: Post) -> dict[str, str]:
        """The token, asked for if there is none that holds.

        Raises:
            UpstreamError: the address of tokens gives none.
        """
        with self._lock:
            if self._token is None or time.monotonic() >= self._renewed_at:
                self._token = self._ask(post)
            return self._token

    def is_refused(self, headers: Mapping[str, str]) -> bool:
        """Forget the token, if it is still the one that was refused."""
        with self._lock:
            if self._token is not None and headers.get("Authorization") == self._token["Authorization"]:
                self._token = None
        return True

    def _ask(self, post: Post) -> dict[str, str]:
        form = {"grant_type": "client_credentials"} | (
            {"scope": self._auth.scope} if self._auth.scope else {}
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self._auth.client_in == "header":
            # RFC 6749 2.3.1: both are form-encoded first
            headers["Authorization"] = _basic(*map(quote_plus, self._client))
            self._hide(headers["Authorization"])
        else:
            form |= {"client_id": self._client[0], "client_secret": self._client[1]}
        try:
            body = post(self._auth.token_url, headers, urlencode(form).encode())
        except UpstreamError as error:
            error.message = f"no token: {error.message}"
            raise
        try:
            answer = json.loads(body)
            token, seconds = str(answer["access_token"]), float(answer.get("expires_in") or 3600)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            said = "no token: the answer is no JSON with an `access_token`"
            raise PermanentUpstreamError(said, self._auth.token_url) from None
        self._hide(token)
        # a short-lived one is not renewed with every request
        self._renewed_at = time.monotonic() + max(seconds - RENEWED_BEFORE, seconds / 2)
        return {"Authorization": f"Bearer {token}"}


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
