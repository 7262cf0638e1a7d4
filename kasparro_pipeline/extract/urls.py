"""Addresses: what one leads to, and how a query is put behind it."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

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


def address(url: str) -> str:
    """An address in the one way in which it is written here: percent-encoded, without a fragment.

    Raises:
        PermanentUpstreamError: not an address of HTTP or HTTPS.
    """
    return _parse(url)._replace(fragment=None).url


def with_params(url: str, params: Mapping[str, str]) -> str:
    """An address with query parameters behind those that it has.

    Raises:
        PermanentUpstreamError: not an address of HTTP or HTTPS.
    """
    parts = _parse(url)
    query = "&".join(part for part in (parts.query, urlencode(params)) if part)
    return parts._replace(query=query or None, fragment=None).url


def _parse(url: str) -> Url:
    try:
        parts = parse_url(url)
    except LocationParseError as error:
        raise PermanentUpstreamError(f"not a usable address: {error}", url) from error
    labels = (parts.host or "").removesuffix(".").split(".")
    if parts.scheme not in PORTS or not all(labels):
        raise PermanentUpstreamError("not a usable address: it needs http or https, and a host", url)
    return parts
