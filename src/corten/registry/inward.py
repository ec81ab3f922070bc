"""Where the daemon may connect to on behalf of somebody who only names a URL: a build's sources. Pure; daemon.

The daemon stands where its clients may not: on the host's loopback, beside a cloud's metadata service (which gives out
credentials, and needs no more than a GET), before its own API. So an address is judged when it is about to be connected
to, after names are resolved and redirects followed: a name whose answer changes meanwhile gains nothing (DNS
rebinding). Private networks are allowed: that is where people keep their repositories.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from corten.errors import Forbidden

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DENIED = (
    "0.0.0.0/8",  # this host
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, where most clouds have their metadata
    "100.100.100.200/32",  # Alibaba Cloud's metadata
    "168.63.129.16/32",  # Azure's
    "192.0.0.192/32",  # Oracle Cloud's, of old
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "fd00:ec2::/32",  # AWS' metadata and its like
    "fd20:ce::254/128",  # Google Cloud's
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud's
    "fd00:42::42/128",  # Scaleway's
    "fd00:a9fe:a9fe::1/128",  # Akamai's
    "fd00:100::100:200/128",  # Alibaba Cloud's
    "ff00::/8",
)
_MAPPINGS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::ffff:0:0:0/96"))  # RFC 6052, RFC 2765


class InwardRefused(Forbidden):
    """The address is none that a build's sources may come from."""

    code = "build-source-refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class InwardPolicy:
    """`deny` are networks that nothing is fetched from, `allow` exceptions of them.

    `own_ports` are the TCP ports of the daemon's API, which are refused on all addresses of this host whatever is
    allowed.
    """

    deny: tuple[Network, ...] = ()
    allow: tuple[Network, ...] = ()
    own_ports: frozenset[int] = frozenset()

    @classmethod
    def of(cls, *, deny: Iterable[str] = (), allow: Iterable[str] = (), own_ports: Iterable[int] = ()) -> InwardPolicy:
        """DENIED and `deny`, but not `allow`. Raises ValueError for what is no network."""
        return cls(
            deny=tuple(ipaddress.ip_network(text) for text in (*DENIED, *deny)),
            allow=tuple(ipaddress.ip_network(text) for text in allow),
            own_ports=frozenset(own_ports),
        )

    def check(self, address: str, port: int, *, is_own: bool) -> None:
        """Raise InwardRefused for an address that is not to be connected to; `is_own`: it is one of this host's."""
        real = embedded(address)
        if is_own and port in self.own_ports:
            raise InwardRefused(f"refused to connect to {address}:{port}: it is the engine's own API")
        if _is_in(real, self.deny) and not _is_in(real, self.allow):
            raise InwardRefused(
                f"refused to connect to {address}: builds may not fetch from this address of the engine's host",
                hint="builder.sources.allow of daemon.json lists networks that they may fetch from nevertheless",
            )


def embedded(address: str) -> Address:
    """The address, or the IPv4 one that an IPv6 address stands for. Raises ValueError."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found.sixtofour is not None:
            return found.sixtofour
        if any(found in network for network in _MAPPINGS):
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
