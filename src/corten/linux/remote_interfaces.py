"""Interfaces and routes of another network namespace, over a socket of it. Daemon only: `network connect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corten.linux.netlink import NetlinkSocket
from corten.linux.rtnetlink import add_route_request, interface_requests, link_index


def set_default_routes(netlink: NetlinkSocket, gateways: Iterable[tuple[str, str]]) -> None:
    """Lead the default route of each gateway's family over (interface, gateway), in the socket's namespace."""
    requests = [add_route_request(link_index(netlink, name), "default", gateway) for name, gateway in gateways]
    netlink.batch(requests, "set the default routes")


def sysctls_of(iface: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What must be written in the namespace before the interface is configured: name now -> key -> value."""
    return {iface.get("ifname_in_netns") or iface["name"]: dict(iface.get("sysctls") or {})}


def configure_remote_interface(netlink: NetlinkSocket, iface: Mapping[str, Any]) -> None:
    """Configure an interface of another namespace, whose socket this is. Its sysctls cannot be written over netlink."""
    current = iface.get("ifname_in_netns") or iface["name"]
    index = link_index(netlink, current)
    netlink.batch(interface_requests(index, current, iface), f"configure the interface {iface['name']}")
