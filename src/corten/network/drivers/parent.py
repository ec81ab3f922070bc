"""What macvlan and ipvlan share: a parent link on the host, and an interface on it made straight in the container.

The parent is a link of the host's, or one of ours: the VLAN sub-interface `eth0.50`, made on eth0 when it is not there,
or a dummy when no parent is given, for networks without a way out. Ours bear the owner's mark and go with the network.
Nothing else is on the host: no bridge, no address, no rule. Daemon only, blocking, over one kept socket.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from corten.errors import Forbidden, InvalidArgument
from corten.linux import rtnetlink, rtnetlink_upper
from corten.linux.netlink import NetlinkError, NetlinkSocket
from corten.linux.rtnetlink import Link
from corten.network.config import (
    OPTION_PARENT,
    Endpoint,
    NetworkConfig,
    container_prefix,
    dummy_name,
    host_link,
    mtu_of,
)
from corten.network.drivers.interface import interface
from corten.network.drivers.links import is_own, make_link, owner_group, require_upper_kind
from corten.network.ipam import IPAddress
from corten.network.ruleset import BridgeRules

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.EINVAL})  # EINVAL: the namespace has no such id any more
_MAX_VLAN = 4094


def parse_vlan(name: str) -> tuple[str, int]:
    """The parent and the VLAN id of `eth0.50`. Raises InvalidArgument with Docker's texts."""
    parent, dot, number = name.rpartition(".")
    if not dot or not parent:
        raise InvalidArgument(f"invalid subinterface vlan name {name}, example formatting is eth0.10")
    if not number.isascii() or not number.isdigit():
        raise InvalidArgument(f"unable to parse a valid vlan id from: {number} (ex. eth0.10 for vlan 10)")
    if not 1 <= int(number[:9]) <= _MAX_VLAN:
        raise InvalidArgument(f"vlan id must be between 1-4094, received: {number}")
    return parent, int(number)


def link_mark(endpoint: Endpoint) -> int:
    """What tells an endpoint's link from all others, as the link's group number: that is set when a link is made."""
    return int(endpoint.id[:8], 16) | 1


class ParentDriver(ABC):
    """All interfaces of one kind of an instance. `owner` marks the parents that are ours."""

    name: str
    addressed = True

    def __init__(self, netlink: NetlinkSocket, *, owner: str) -> None:
        self._netlink = netlink
        self._owner = owner
        self._users: dict[str, set[str]] = {}  # parent -> ids of its networks

    def _link(self, name: str) -> Link | None:
        return rtnetlink_upper.find_link(self._netlink, name)

    def _is_ours(self, link: Link) -> bool:
        """Whether we made it as a parent; the bridge of another network may be one, too, and bears the same mark."""
        return is_own(link, self._owner) and link.kind in ("vlan", "dummy")

    @abstractmethod
    def _modes(self, network: NetworkConfig) -> tuple[str, ...]:
        """The options that tell how the links behave. Raises InvalidArgument."""

    @abstractmethod
    def _request(self, network: NetworkConfig, endpoint: Endpoint, parent: Link, pid: int) -> bytes:
        """Make the endpoint's link in the network namespace of `pid`; sets `endpoint.mac` to what it will have."""

    def check(self, network: NetworkConfig, others: Iterable[NetworkConfig]) -> None:
        """Whether options and parent can work. The kernel lets a link be the parent of one kind of interfaces only."""
        self._modes(network)
        mtu_of(network)
        container_prefix(network)
        parent = host_link(network)
        if parent == "lo":
            raise InvalidArgument(f"loopback interface is not a valid {self.name} parent link")
        for other in others:
            if other.driver in ("macvlan", "ipvlan") and host_link(other) == parent:
                self._check_sharing(network, other, parent)
        if network.options.get(OPTION_PARENT) and self._link(parent) is None:
            lower = parent.rpartition(".")[0]
            if lower and self._link(lower) is None:
                raise InvalidArgument(f"-o parent interface was not found on the host: {lower}")
            parse_vlan(parent)

    def _check_sharing(self, network: NetworkConfig, other: NetworkConfig, parent: str) -> None:  # noqa: ARG002
        """Whether the two can have one parent. Raises Forbidden."""
        name = dummy_name(other.driver, other.id)  # which is what Docker says here, too
        raise Forbidden(f"network {name} is already using parent interface {parent}")

    def gateway(self, network: NetworkConfig, address: IPAddress) -> str:
        """The router's address in the parent's network; a dummy has none."""
        return network.gateway_of(address) if network.options.get(OPTION_PARENT) else ""

    def ensure(self, network: NetworkConfig) -> None:
        """Make the parent when it is to be ours, marked and up."""
        name = host_link(network)
        require_upper_kind(self._netlink, self.name, what=f"make network {network.name}")
        self._ensure_parent(network, name)
        self._users.setdefault(name, set()).add(network.id)

    def _ensure_parent(self, network: NetworkConfig, name: str) -> None:
        link, group = self._link(name), owner_group(self._owner)
        if link is not None:
            if self._is_ours(link):
                self._set_up(link.index, name)  # up again, whoever set it down
            return
        if network.options.get(OPTION_PARENT):
            lower = name.rpartition(".")[0]
            parent = self._link(lower) if lower else None
            if parent is None:
                raise NetlinkError(errno.ENODEV, f"find {lower or name}, the parent of network {network.name}")
            kind, vlan = "vlan", parse_vlan(name)[1]
            request = rtnetlink_upper.create_vlan_request(name, parent=parent.index, vlan=vlan, group=group)
        else:
            kind = "dummy"
            request = rtnetlink_upper.create_dummy_request(name, mtu=mtu_of(network), group=group)
        make_link(self._netlink, request, kind=kind, what=f"create {name}, the parent of network {network.name}")
        made = self._link(name)
        if made is None:
            return
        try:
            self._set_up(made.index, name)
        except OSError:
            self._netlink.batch([rtnetlink.delete_link_request(index=made.index)], "remove the parent again")
            raise

    def _set_up(self, index: int, name: str) -> None:
        requests = [
            rtnetlink.set_link_alias_request(index, self._owner),
            rtnetlink.set_link_request(index=index, up=True, no_ipv6_address=True),
        ]
        self._netlink.batch(requests, f"configure {name}", ignore=[frozenset(), frozenset({errno.EAFNOSUPPORT})])

    def remove(self, network: NetworkConfig) -> None:
        """Delete the parent, if it is ours and of no other network."""
        name = host_link(network)
        users = self._users.get(name, set())
        users.discard(network.id)
        link = self._link(name)
        if not users and link is not None and self._is_ours(link):
            request = rtnetlink.delete_link_request(index=link.index)
            self._netlink.batch([request], f"delete {link.name}", ignore=[_GONE])

    def attach(self, network: NetworkConfig, endpoint: Endpoint, *, pid: int) -> dict[str, Any]:
        """Make the link under its last name in the container's namespace; a parent that was deleted is made again."""
        parent = self._link(host_link(network))
        if parent is None:
            self.ensure(network)
            parent = self._link(host_link(network))
        if parent is None:
            raise NetlinkError(errno.ENODEV, f"find {host_link(network)}, the parent of network {network.name}")
        netns = rtnetlink_upper.namespace_id(self._netlink, pid)
        request = self._request(network, endpoint, parent, pid)
        self._create(network, request, f"create the interface {endpoint.ifname} on {parent.name}")
        endpoint.netns = netns
        return interface(endpoint, mtu=mtu_of(network))

    def _create(self, network: NetworkConfig, request: bytes, what: str) -> None:  # noqa: ARG002 - for macvlan
        self._netlink.batch([request], what)

    def detach(self, endpoint: Endpoint) -> None:
        """Delete the link from the container's namespace.

        The namespace may be gone and its id may have passed to another, with a link of the same name, kind and MAC:
        only one that bears the endpoint's mark goes.
        """
        if endpoint.netns < 0:
            return
        link = rtnetlink_upper.find_link_in(self._netlink, endpoint.netns, endpoint.ifname)
        if link is None or link.kind != self.name or link.group != link_mark(endpoint):
            return
        request = rtnetlink_upper.delete_link_in_request(endpoint.netns, link.index)
        self._netlink.batch([request], f"delete the interface {endpoint.ifname}", ignore=[_GONE])

    def rules(self, network: NetworkConfig) -> BridgeRules | None:  # noqa: ARG002 - the driver's Protocol
        """None: these packets do not pass the host's stack."""
        return None
