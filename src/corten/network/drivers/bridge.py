"""The bridge driver: a Linux bridge a network, a veth pair an endpoint. Daemon only, on the loop, over one kept
socket; the deletion of links alone is left to threads: it takes tens of milliseconds, as the kernel waits for its
readers.

The pair is made in one request: the host's end up and enslaved, the peer in the container's namespace under its last
name. A pair can be made before its container is known (`prewarm`) and adopted by `attach`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from corten.errors import Forbidden
from corten.lib import blocking, faultpoint
from corten.linux import rtnetlink, rtnetlink_bridge, rtnetlink_upper
from corten.linux.netlink import NetlinkError, NetlinkSocket
from corten.network.config import (
    DRIVERS_WITH_BRIDGES,
    BridgeOptions,
    Endpoint,
    GatewayMode,
    NetworkConfig,
    bridge_options,
    container_prefix,
    host_link,
)
from corten.network.drivers.interface import IPV6_OFF, IPV6_ON, interface
from corten.network.drivers.links import is_own, make_link, owner_group
from corten.network.ipam import IPAddress, mac_of
from corten.network.ruleset import BridgeRules
from corten.network.vxlan import vxlan_link

GONE = frozenset({errno.ENODEV, errno.ENOENT})
_ABSENT_ADDRESS = frozenset({errno.EADDRNOTAVAIL})
_DYING = "ctgone"  # and the index: the name of a bridge that is being deleted
_LOG = logging.getLogger("corten.network")


class BridgeDriver:
    """All bridges and veth pairs of an instance. `owner` marks links as this instance's (links.py)."""

    name = "bridge"
    addressed = True
    remote = False

    def __init__(self, netlink: NetlinkSocket, *, owner: str) -> None:
        self._netlink = netlink
        self._owner = owner
        self._index: dict[str, int] = {}
        self._options: dict[str, BridgeOptions] = {}
        self._warm: dict[str, tuple[str, str]] = {}  # host end -> (network id, name of the peer)
        self._local_routes: set[str] = set()
        self._deleting: set[asyncio.Task[None]] = set()

    def check(self, network: NetworkConfig, others: Iterable[NetworkConfig]) -> None:
        """Whether the options can work; two networks cannot share a bridge."""
        name = bridge_options(network).bridge
        container_prefix(network)
        versions = [subnet.network().version for subnet in network.subnets]
        if len(set(versions)) < len(versions):
            raise Forbidden("bridge driver doesn't support multiple subnets")
        for other in others:
            if other.driver in DRIVERS_WITH_BRIDGES and host_link(other) == name:
                raise Forbidden(
                    f"cannot create network {network.id} ({name}): conflicts with network {other.id} ({name}): "
                    "networks have same bridge name"
                )

    def gateway(self, network: NetworkConfig, address: IPAddress) -> str:
        """The bridge's address."""
        return network.gateway_of(address)

    async def ensure(self, network: NetworkConfig, *, new: bool = False) -> None:  # noqa: ARG002 - the same each time
        """Make the bridge with its addresses, or give one that is there the addresses it lacks."""
        self._ensure(network)

    def _ensure(self, network: NetworkConfig) -> None:
        options = bridge_options(network)
        isolated = {v for v in (4, 6) if options.gateway_mode(v) is GatewayMode.ISOLATED}
        open_subnets = [s for s in network.subnets if s.network().version not in isolated]
        wanted = {f"{s.gateway}/{s.network().prefixlen}" for s in open_subnets if s.gateway}
        created = False
        try:
            index = socket.if_nametoindex(options.bridge)
        except OSError:
            group = owner_group(self._owner)
            request = rtnetlink.create_bridge_request(options.bridge, mtu=options.mtu, mac=_mac(network), group=group)
            make_link(self._netlink, request, kind="bridge", what=f"create bridge {options.bridge}")
            index = socket.if_nametoindex(options.bridge)
            created = True
        try:
            ipv6 = network.enable_ipv6 and 6 not in isolated
            self._address(index, options.bridge, wanted, created=created, ipv6=ipv6)
        except OSError:
            if created:
                self._netlink.batch([rtnetlink.delete_link_request(index=index)], "remove the bridge again")
            raise
        self._index[network.id] = index
        self._options[network.id] = options

    def _address(self, index: int, bridge: str, wanted: set[str], *, created: bool, ipv6: bool) -> None:
        """Addresses, up, and sysctls. Only on a bridge of our own are other addresses taken away and IPv6 switched."""
        requests = [rtnetlink.set_link_request(index=index, up=True)]
        present = set() if created else {c for i, c in rtnetlink.list_addresses(self._netlink) if i == index}
        own = created or any(k.index == index and is_own(k, self._owner) for k in rtnetlink.list_links(self._netlink))
        if own:
            requests.insert(0, rtnetlink.set_link_alias_request(index, self._owner))
            rtnetlink.write_sysctls(bridge, IPV6_ON if ipv6 else IPV6_OFF)
            stale = [c for c in present - wanted if not c.startswith("fe80:")]
            requests += [rtnetlink.delete_address_request(index, c) for c in stale]
        requests += [rtnetlink.add_address_request(index, c) for c in sorted(wanted - present)]
        self._netlink.batch(requests, f"configure bridge {bridge}")

    async def remove(self, network: NetworkConfig) -> None:
        """Delete the bridge, unless it was there before and is someone else's.

        It is out of use and without its name when this returns; what the kernel does then takes tens of milliseconds,
        for which nobody waits: see `settled`.
        """
        self._index.pop(network.id, None)
        self._options.pop(network.id, None)
        bridge = bridge_options(network).bridge
        self._local_routes.discard(bridge)
        link = rtnetlink_upper.find_link(self._netlink, bridge)
        if link is None or not is_own(link, self._owner):
            return
        # another network may have name and subnet at once; a daemon that is killed now leaves a link with our mark
        addresses = [f"{s.gateway}/{s.network().prefixlen}" for s in network.subnets if s.gateway]
        self._netlink.batch(
            [
                rtnetlink.set_link_request(index=link.index, up=False),
                *(rtnetlink.delete_address_request(link.index, address) for address in addresses),
                rtnetlink.set_link_request(index=link.index, new_name=f"{_DYING}{link.index}"),
            ],
            f"take bridge {bridge} out of use",
            ignore=[GONE, *[GONE | _ABSENT_ADDRESS] * len(addresses), GONE],  # IPv6 goes with the first
        )
        faultpoint.reach("network.dying")
        task = asyncio.get_running_loop().create_task(_delete_logged(link.index))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)

    async def settled(self) -> None:
        """All links that were removed are gone from the kernel, too."""
        await asyncio.gather(*self._deleting)

    def prewarm(self, network: NetworkConfig, veth: str, pid: int) -> None:
        """Make a pair for a namespace whose container is not known yet."""
        peer = container_prefix(network) + "0"
        self._pair(network, veth, peer, pid)
        self._warm[veth] = (network.id, peer)

    def prewarmed_name(self, veth: str) -> str:
        """What the container's end of a prepared pair is called until init renames it; "" without a pair."""
        return self._warm[veth][1] if veth in self._warm else ""

    def forget_prewarmed(self, veth: str) -> bool:
        """The prepared namespace is given up; returns whether there was a pair."""
        return self._warm.pop(veth, None) is not None

    async def attach(self, network: NetworkConfig, endpoint: Endpoint, *, pid: int) -> dict[str, Any]:
        """The endpoint's pair, made or adopted."""
        present = endpoint.ifname
        warm = self._warm.pop(endpoint.veth, None)
        if warm is None:
            self._pair(network, endpoint.veth, endpoint.ifname, pid)
        else:
            present = warm[1]
            if warm[0] != network.id:
                self._move(network, endpoint.veth)
        return interface(endpoint, present=present, mtu=self._options[network.id].mtu)

    def _pair(self, network: NetworkConfig, veth: str, peer: str, pid: int) -> None:
        """Create the pair; a bridge that someone deleted, or that failed to come up before, is made (again) first."""
        if network.id not in self._index:
            self._ensure(network)
        try:
            self._create(network, veth, peer, pid)
        except NetlinkError:
            if link_exists(self._options[network.id].bridge):
                raise
            self._ensure(network)
            self._create(network, veth, peer, pid)

    def _create(self, network: NetworkConfig, veth: str, peer: str, pid: int) -> None:
        options = self._options[network.id]
        create = rtnetlink.create_veth_request(
            veth, peer, netns_pid=pid, mtu=options.mtu, master=self._index[network.id]
        )
        self._netlink.batch([create], f"create the interface {veth}")
        if not options.icc:
            self._port(veth, isolated=True)

    def _move(self, network: NetworkConfig, veth: str) -> None:
        """A prewarmed pair goes to the bridge of another network."""
        if network.id not in self._index:
            self._ensure(network)
        index = socket.if_nametoindex(veth)
        options = self._options[network.id]
        request = rtnetlink.set_link_request(index=index, master=self._index[network.id], mtu=options.mtu)
        self._netlink.batch([request], f"move {veth} to {options.bridge}")
        if not options.icc:
            self._port(veth, isolated=True)

    def _port(self, veth: str, *, hairpin: bool | None = None, isolated: bool | None = None) -> None:
        request = rtnetlink_bridge.set_bridge_port_request(
            socket.if_nametoindex(veth), hairpin=hairpin, isolated=isolated
        )
        self._netlink.batch([request], f"set the bridge port {veth}")

    def publish(self, network: NetworkConfig, endpoint: Endpoint) -> None:
        """Before ports of this endpoint are published: what the kernel needs beside the rules.

        Hairpin: with br_netfilter a container's packet to its own published port is bridged back to the port it came
        from. route_localnet: translated packets from 127.0.0.1 may leave by this bridge, no other; the raw rules drop
        what claims such an address from outside.
        """
        self._port(endpoint.veth, hairpin=True)
        bridge = self._options[network.id].bridge
        if bridge not in self._local_routes:
            rtnetlink.write_sysctls(bridge, {"net.ipv4.conf.IFNAME.route_localnet": "1"})
            self._local_routes.add(bridge)

    async def detach(self, endpoint: Endpoint) -> None:
        """Delete the pair."""
        await self.delete_links([endpoint.veth])

    def forget_neighbour(self, network: NetworkConfig, address: str) -> None:
        """Drop what the host remembers of an address whose MAC changes."""
        request = rtnetlink_bridge.delete_neighbour_request(self._index[network.id], address)
        self._netlink.batch([request], f"forget the neighbour {address}", ignore=[GONE | _ABSENT_ADDRESS])

    def rules(self, network: NetworkConfig) -> BridgeRules:
        """For the firewall."""
        options = bridge_options(network)
        return BridgeRules(
            bridge=options.bridge,
            subnets=tuple((s.network(), s.gateway_address()) for s in network.subnets),
            masquerade=options.masquerade,
            icc=options.icc,
            internal=network.internal,
            gateway_modes=options.gateway_modes,
        )

    def strays(self, networks: list[NetworkConfig], veths: set[str]) -> list[str]:
        """Links of ours that no record accounts for: by their mark, veth pairs by their bridge."""
        wanted = {name for network in networks for name in (host_link(network), vxlan_link(network))}
        links = rtnetlink.list_links(self._netlink)
        own = {link.index for link in links if link.kind == "bridge" and link.name in wanted}
        marked = {link.index for link in links if is_own(link, self._owner)}
        found = [link.name for link in links if link.index in marked and link.name not in wanted]
        ports = [link for link in links if link.master in own | marked and link.index not in marked]
        return found + [k.name for k in ports if k.kind == "veth" and is_our_veth(k.name) and k.name not in veths]

    async def delete_links(self, names: Iterable[str]) -> None:
        """Delete links by name, those that are there; they are gone when this returns. Raises NetlinkError.

        They are looked up here: by the time a thread gets to it, a name may be that of another link.
        """
        found = {name: index for name in names if (index := link_number(name))}
        if found:
            await blocking.run(_delete, found, pool="netns")


def _delete(links: Mapping[str, int]) -> None:
    """In a thread of the pool, with a socket of its own. By index; the names are for who reads the error."""
    requests = [rtnetlink.delete_link_request(index=index) for index in links.values()]
    with NetlinkSocket() as netlink:
        netlink.batch(requests, f"delete {', '.join(links)}", ignore=[GONE] * len(requests))


async def _delete_logged(index: int) -> None:
    """Where nobody waits for it."""
    try:
        await blocking.run(_delete, {f"{_DYING}{index}": index}, pool="netns")
    except OSError:
        _LOG.exception("a bridge that is out of use could not be deleted; the next daemon tries again")


def _mac(network: NetworkConfig) -> str:
    """The bridge's MAC: of its first address, else of the network's id."""
    for subnet in network.subnets:
        return mac_of(subnet.gateway_address() or subnet.network().network_address)
    return (b"\x02\x42" + bytes.fromhex(network.id[:8])).hex(":")


def veth_name(cid: str, number: int) -> str:
    """The host's end for a container's interface: its name says whose it is."""
    return f"veth{cid[:9]}{number:02x}"


def is_our_veth(name: str) -> bool:
    """Whether a name has the form of `veth_name`."""
    return len(name) == 15 and name.startswith("veth") and all(c in "0123456789abcdef" for c in name[4:])


def link_exists(name: str) -> bool:
    """Whether the host has a link of this name."""
    return link_number(name) > 0


def link_number(name: str) -> int:
    """The index of the host's link of this name; 0 when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
