"""What init is told of an interface that a driver placed in a container's namespace. Pure; daemon only."""

from __future__ import annotations

from typing import Any

from corten.network.config import Endpoint

IPV6_OFF = {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}
IPV6_ON = {"net.ipv6.conf.IFNAME.disable_ipv6": "0", "net.ipv6.conf.IFNAME.accept_ra": "0"}


def interface(endpoint: Endpoint, *, present: str = "", mtu: int = 0) -> dict[str, Any]:
    """The fields of docs/architecture.md; the default gateway is the service's to choose.

    `present` is the name that the interface has now, when it is not its last one.
    """
    return {
        "name": endpoint.ifname,
        "ifname_in_netns": present or endpoint.ifname,
        "mac": endpoint.mac,
        "addresses": [cidr for cidr in (endpoint.ipv4, endpoint.ipv6) if cidr],
        "gateway": None,
        "gateway6": None,
        "mtu": mtu,
        "routes": [],
        "sysctls": dict(IPV6_ON if endpoint.ipv6 else IPV6_OFF),
    }
