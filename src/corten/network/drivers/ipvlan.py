"""The ipvlan driver: an interface that shares the MAC of a link of the host's, for networks that allow one MAC a port.

Modes: `l2`, `l3` (the parent routes; no broadcast, no gateway: the default route is the link itself), `l3s` (so that
the host's connection tracking sees the packets). Flags: `bridge`, `private`, `vepa`, as macvlan's modes. Daemon only.
"""

from __future__ import annotations

from corten.errors import InvalidArgument
from corten.linux import rtnetlink_upper
from corten.linux.rtnetlink import Link
from corten.network.config import OPTION_PARENT, Endpoint, NetworkConfig, mtu_of
from corten.network.drivers.parent import ParentDriver, link_mark
from corten.network.ipam import IPAddress

OPTION_MODE = "ipvlan_mode"
OPTION_FLAG = "ipvlan_flag"


class IpvlanDriver(ParentDriver):
    """See the module."""

    name = "ipvlan"

    def _modes(self, network: NetworkConfig) -> tuple[str, ...]:
        mode = network.options.get(OPTION_MODE) or "l2"
        if mode not in rtnetlink_upper.IPVLAN_MODES:
            text = f"requested ipvlan mode '{mode[:64]}' is not valid, 'l2' mode is the ipvlan driver default"
            raise InvalidArgument(text)
        flag = network.options.get(OPTION_FLAG) or "bridge"
        if flag not in rtnetlink_upper.IPVLAN_FLAGS:
            text = f"requested ipvlan flag '{flag[:64]}' is not valid, 'bridge' is the ipvlan driver default"
            raise InvalidArgument(text)
        return mode, flag

    def gateway(self, network: NetworkConfig, address: IPAddress) -> str:
        """In the l3 modes the link itself."""
        if self._modes(network)[0] == "l2" or not network.options.get(OPTION_PARENT):
            return super().gateway(network, address)
        return "0.0.0.0" if address.version == 4 else "::"

    def _request(self, network: NetworkConfig, endpoint: Endpoint, parent: Link, pid: int) -> bytes:
        mode, flag = self._modes(network)
        endpoint.mac = ""  # it has that of the parent, which cannot be changed
        return rtnetlink_upper.create_ipvlan_request(
            endpoint.ifname,
            parent=parent.index,
            mode=mode,
            flag=flag,
            mtu=mtu_of(network),
            netns_pid=pid,
            group=link_mark(endpoint),
        )
