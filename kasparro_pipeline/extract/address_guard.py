"""Which addresses may be reached: public ones, and those of hosts that the spec names.

A source's address, a redirect or a link may lead into the network that Kasparro runs in: to a database, to
the metadata service of a cloud. The check is made on what a name resolves to, and the connection is opened to
exactly the addresses that were checked: a name that resolves to something else a moment later gains nothing.
"""

import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.http_connection import Dial
from kasparro_pipeline.extract.name_lookup import LookUp, addresses_of, system_look_up

NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses of IPv4 in IPv6 (RFC 6052 2.1)."""
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""The same for a network's own use (RFC 8215)."""


def guarded_dial(allowed_hosts: Iterable[str], look_up: LookUp = system_look_up) -> Dial:
    """Opens connections to public addresses, and to any address of the hosts that are allowed by name.

    The seconds of a connection count from the look-up of its name.
    """
    allowed = frozenset(map(_plain, allowed_hosts))

    def dial(host: str, port: int, seconds: float) -> socket.socket:
        until = time.monotonic() + seconds
        try:
            found = addresses_of(host, port, seconds, look_up)
        except UnicodeError as error:
            raise PermanentUpstreamError(f"not a usable address: the host {host!r}: {error}") from error
        if _plain(host) not in allowed:
            _refuse_private(host, {str(entry[4][0]) for entry in found})
        last: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in found:
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(max(0.001, until - time.monotonic()))
                opened.connect(address)
            except OSError as error:
                opened.close()
                last = error
            else:
                return opened
        raise last

    return dial


def require_reachable(host: str, port: int, allowed_hosts: Iterable[str]) -> None:
    """Check a host whose connections are opened by others, before they do so.

    Raises:
        PermanentUpstreamError: it leads to an address that is not public, and is not allowed by name.
        OSError: it has no address.
    """
    if _plain(host) not in frozenset(map(_plain, allowed_hosts)):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        _refuse_private(host, {str(entry[4][0]) for entry in found})


def _refuse_private(host: str, addresses: Iterable[str]) -> None:
    if refused := sorted(address for address in addresses if not is_public(address)):
        raise PermanentUpstreamError(
            f"{host} leads to {refused[0]}, which is no public address; if it is meant, name {host} in"
            " `http.allow_private_hosts`"
        )


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also behind the forms in which IPv6 carries IPv4."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed in LOCAL_NAT64 or parsed.is_site_local:
            return False
        inner = _carried(parsed)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = int(address) & 0xFFFFFFFF
    # `::a.b.c.d` is an old form of the same, which some systems still route
    if address in NAT64 or (int(address) >> 32 == 0 and low > 1):
        return IPv4Address(low)
    return None


def _plain(host: str) -> str:
    return host.lower().strip("[]").removesuffix(".")
