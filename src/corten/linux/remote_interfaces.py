"""Interfaces and routes of another network namespace, over a socket of it. Daemon only: `network connect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corten.linux.netlink import NetlinkSocket
from corten.linux.rtnetlink import add_route_request, interface_requests, link_index, set_link_request


def set_default_routes(netlink: NetlinkSocket, gateways: Iterable[tuple[str, str]]) -> None:
    """Lead the default route of each gateway's family over (interface, gateway), in the socket's namespace."""
    requests = [add_route_request(link_index(netlink, name), "default", gateway) for name, gateway in gateways]
    netlink.batch(requests, "set the default routes")


def configure_remote_interface(netlink: NetlinkSocket, iface: Mapping[str, Any]) -> None:
    """Configure an interface of another namespace, whose socket this is; sysctls cannot be written that way.

    Without an IPv6 address the link-local one is left out, too, which comes near to `disable_ipv6`.
    """
    current = iface.get("ifname_in_netns") or iface["name"]
    index = link_index(netlink, current)
    requests = interface_requests(index, current, iface)
    if not any(":" in cidr for cidr in iface.get("addresses") or ()):
        requests.insert(0, set_link_request(index=index, no_ipv6_address=True))
    netlink.batch(requests, f"configure the interface {iface['name']}")
