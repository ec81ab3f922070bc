"""The vxlan driver: a bridge network that reaches over several hosts, by a static list of them. Daemon only, blocking.

A bridge as the bridge driver makes it, with one more port: a VXLAN link that sends what is for all to every peer. There
is no control plane; who keeps the lists of many hosts equal is above (Kubernetes, a configuration tool). The kernel
takes packets from anyone: the packet filter drops those that are not from a peer (`network.vxlan_rules`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from corten.errors import Forbidden, InvalidArgument, Unavailable
from corten.linux import rtnetlink, rtnetlink_vxlan
from corten.linux.rtnetlink import Link
from corten.network.config import OPTION_ICC, OPTION_MTU, NetworkConfig, bridge_options, mtu_of
from corten.network.drivers.bridge import GONE, BridgeDriver
from corten.network.drivers.links import make_link, owner_group
from corten.network.ruleset import BridgeRules
from corten.network.vxlan import Underlay, underlay, vxlan_link

_ETHERNET_MTU = 1500


class VxlanDriver(BridgeDriver):
    """All vxlan networks of an instance."""

    name = "vxlan"

    def check(self, network: NetworkConfig, others: Iterable[NetworkConfig]) -> None:
        """As for a bridge; and the kernel has one link for a number and port."""
        others = list(others)
        super().check(network, others)
        asked = underlay(network)
        if not bridge_options(network).icc:
            raise InvalidArgument(f"{OPTION_ICC}=false cannot work on a vxlan network: all hosts are one link")
        for other in others:
            if other.driver != self.name:
                continue
            theirs = underlay(other)
            if (theirs.vni, theirs.port) == (asked.vni, asked.port):
                raise Forbidden(f"vni {asked.vni} on port {asked.port} is that of network {other.name}")
        links = rtnetlink.list_links(self._netlink)
        if asked.parent and not any(link.name == asked.parent for link in links):
            raise InvalidArgument(f"-o parent interface was not found on the host: {asked.parent}")
        most = self._way_mtu(asked, links) - asked.overhead()
        if mtu_of(network) > most:
            raise InvalidArgument(f"MTU {mtu_of(network)} is too much: the way to the peers leaves {most} bytes")

    async def ensure(self, network: NetworkConfig, *, new: bool = False) -> None:
        """The bridge and its way to the peers; a new network's MTU is chosen for good."""
        if new and not mtu_of(network):
            asked = underlay(network)
            most = self._way_mtu(asked, rtnetlink.list_links(self._netlink)) - asked.overhead()
            network.options[OPTION_MTU] = str(most)
            mtu_of(network)  # IPv6 needs 1280
        try:
            await super().ensure(network)
        except (OSError, Unavailable):
            if new:
                await self.remove(network)
            raise

    def _way_mtu(self, asked: Underlay, links: list[Link]) -> int:
        """The smallest MTU of the links by which packets to the peers leave."""
        of = {link.index: link.mtu for link in links}
        if asked.parent:
            return next((link.mtu for link in links if link.name == asked.parent), _ETHERNET_MTU)
        ways = (rtnetlink_vxlan.route_link(self._netlink, str(peer)) for peer in asked.peers)
        return min((of[index] for index in ways if index in of), default=_ETHERNET_MTU)

    def _ensure(self, network: NetworkConfig) -> None:
        super()._ensure(network)
        self._ensure_port(network)

    def _ensure_port(self, network: NetworkConfig) -> None:
        asked = underlay(network)
        name = vxlan_link(network)
        links = {link.name: link for link in rtnetlink.list_links(self._netlink)}
        if name not in links:
            request = rtnetlink_vxlan.create_vxlan_request(
                name,
                vni=asked.vni,
                port=asked.port,
                local=str(asked.local),
                parent=links[asked.parent].index if asked.parent in links else 0,
                master=self._index[network.id],
                mtu=mtu_of(network),
                group=owner_group(self._owner),
            )
            what = f"create the vxlan link {name} (vni {asked.vni}, port {asked.port}) of network {network.name}"
            make_link(self._netlink, request, kind=self.name, what=what)
        index = rtnetlink.link_index(self._netlink, name)
        up = rtnetlink.set_link_request(index=index, master=self._index[network.id], up=True)
        self._netlink.batch([rtnetlink.set_link_alias_request(index, self._owner), up], f"configure {name}")
        self._set_peers(index, asked)

    def _set_peers(self, index: int, asked: Underlay) -> None:
        """Make the kernel's list that of the network; what was learned of a peer that left goes as well."""
        wanted = {str(peer) for peer in asked.peers}
        present = rtnetlink_vxlan.list_entries(self._netlink, index)
        gone = [entry for entry in present if entry[1] not in wanted]
        known = {address for lladdr, address in present if rtnetlink_vxlan.is_for_all(lladdr)}
        requests = [rtnetlink_vxlan.delete_entry_request(index, *entry) for entry in gone]
        ignore = [GONE] * len(requests)  # a learned one may have aged meanwhile
        requests += [rtnetlink_vxlan.add_destination_request(index, peer) for peer in sorted(wanted - known)]
        self._netlink.batch(requests, "set the peers of a vxlan network", ignore=ignore)

    def _delete_port(self, network: NetworkConfig) -> None:
        request = rtnetlink.delete_link_request(name=vxlan_link(network))
        self._netlink.batch([request], "delete a vxlan link", ignore=[GONE])

    async def remove(self, network: NetworkConfig) -> None:
        """Delete the link to the peers, and the bridge."""
        self._delete_port(network)
        await super().remove(network)

    def rules(self, network: NetworkConfig) -> BridgeRules:
        """Those of a bridge, and who may send."""
        return replace(super().rules(network), underlay=underlay(network))
