"""Where questions go that nobody here can answer. Pure; Docker's rules.

Servers of `--dns` are asked from the container's network namespace, and so are the host's: what the container may
reach decides. Those that only the host reaches (its own stub on a loopback address, IPv6 for a container without) are
asked from the host's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from corten.network.hosts_files import EMBEDDED_SERVER


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server, and from whose namespace it is asked."""

    address: str
    from_host: bool = False

    def __str__(self) -> str:
        return f"host({self.address})" if self.from_host else self.address


def upstreams(given: Sequence[str], host: Sequence[str], *, ipv6: bool) -> tuple[Upstream, ...]:
    """The servers of a container: those `given` to it (never its own embedded one), or else the host's."""
    if given:
        return tuple(Upstream(server) for server in given if server != EMBEDDED_SERVER)
    found = []
    for server in host:
        try:
            address = ipaddress.ip_address(server)
        except ValueError:
            continue
        only_host = address.is_loopback or (address.version == 6 and (not ipv6 or address.is_link_local))
        found.append(Upstream(server, from_host=only_host))
    return tuple(found)
