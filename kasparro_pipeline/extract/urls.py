"""Addresses: what one leads to, and how a query is put behind it."""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus, urlencode, urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from kasparro_pipeline.extract.errors import PermanentUpstreamError

PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What a connection leads to (RFC 6454 4)."""

    scheme: str
    host: str
    port: int


def split(url: str) -> tuple[Origin, str]:
    """Where to connect, and what to ask for there: path and query.

    Raises:
        PermanentUpstreamError: not an address of HTTP or HTTPS.
    """
    parts = _parse(url)
    host, scheme = (parts.host or "").strip("[]"), parts.scheme or ""
    return Origin(scheme, host, parts.port or PORTS[scheme]), parts.request_uri


def joined(base: str, target: str) -> str:
    """Where a link leads that stands in the answer of an address (RFC 3986 5).

    Raises:
        PermanentUpstreamError: nowhere.
    """
    try:
        return urljoin(base, target)
    except ValueError as error:
        raise PermanentUpstreamError(f"not a usable address: {error}", target) from error


def of_same_origin(url: str, base: str) -> str:
    """An address that an upstream gave, percent-encoded and without a fragment.

    One of the same host that says `http` where the base says `https` is taken as that: upstreams behind a
    proxy do not know better.

    Raises:
        PermanentUpstreamError: not an address of HTTP or HTTPS, or one of another host: what is sent with the
            requests is meant for the base alone.
    """
    parts, expected = _parse(url)._replace(fragment=None), split(base)[0]
    if (parts.scheme, expected.scheme) == ("http", "https") and parts.port in {None, 80}:
        parts = parts._replace(scheme="https", port=None)
    if split(parts.url)[0] != expected:
        raise PermanentUpstreamError(
            f"the next page leads to another host than {expected.host}",
            url,
        )
    return parts.url


def with_params(url: str, params: Mapping[str, str]) -> str:
    """An address with query parameters behind those that it has.

    Raises:
        PermanentUpstreamError: not an address of HTTP or HTTPS.
    """
    parts = _parse(url)
    query = "&".join(part for part in (parts.query, urlencode(params)) if part)
    return parts._replace(query=query or None, fragment=None).url


def without_params(url: str, names: Collection[str]) -> str:
    """An address without some of its query parameters.

    Raises:
        PermanentUpstreamError: not an address of HTTP or HTTPS.
    """
    parts = _parse(url)
    kept = [
        part for part in (parts.query or "").split("&") if unquote_plus(part.partition("=")[0]) not in names
    ]
    return parts._replace(query="&".join(kept) or None).url


def _parse(url: str) -> Url:
    try:
        parts = parse_url(url)
    except LocationParseError as error:
        raise PermanentUpstreamError(f"not a usable address: {error}", url) from error
    if parts.auth is not None:
        said = "not a usable address: it holds a user name or password; use `auth`"
        raise PermanentUpstreamError(said, parts._replace(auth=None).url)
    labels = (parts.host or "").removesuffix(".").split(".")
    if parts.scheme not in PORTS or not all(labels):
        raise PermanentUpstreamError("not a usable address: it needs http or https, and a host", url)
    return parts
