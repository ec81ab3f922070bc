"""The macvlan driver: an interface with a MAC of its own on a link of the host's, as if on its network. Daemon only.

Modes: `bridge` (containers reach one another), `private` (they do not), `vepa` (only by way of a switch that sends
back), `passthru` (one container has the link, with its MAC). The kernel lets nobody reach the host by its own link.
"""

from __future__ import annotations

import errno

from corten.errors import Forbidden, InvalidArgument
from corten.linux import rtnetlink_upper
from corten.linux.netlink import NetlinkError
from corten.linux.rtnetlink import Link
from corten.network.config import Endpoint, NetworkConfig, mtu_of
from corten.network.driver import ParentBusy
from corten.network.drivers.parent import ParentDriver, link_mark

OPTION_MODE = "macvlan_mode"


class MacvlanDriver(ParentDriver):
    """See the module."""

    name = "macvlan"

    def _modes(self, network: NetworkConfig) -> tuple[str, ...]:
        mode = network.options.get(OPTION_MODE) or "bridge"
        if mode not in rtnetlink_upper.MACVLAN_MODES:
            text = f"requested macvlan mode '{mode[:64]}' is not valid, 'bridge' mode is the macvlan driver default"
            raise InvalidArgument(text)
        return (mode,)

    def _check_sharing(self, network: NetworkConfig, other: NetworkConfig, parent: str) -> None:
        """Several macvlan networks may have one parent, unless one of them takes it whole."""
        if other.driver != self.name:
            super()._check_sharing(network, other, parent)
        if self._modes(network) == ("passthru",):
            raise Forbidden(
                f"cannot use mode passthru, macvlan network {other.id} is already using parent interface {parent}"
            )
        if self._modes(other) == ("passthru",):
            raise Forbidden(f"macvlan network {other.id} is already using parent interface {parent} in mode passthru")

    def _request(self, network: NetworkConfig, endpoint: Endpoint, parent: Link, pid: int) -> bytes:
        (mode,) = self._modes(network)
        if mode == "passthru":
            endpoint.mac = parent.address
        return rtnetlink_upper.create_macvlan_request(
            endpoint.ifname,
            parent=parent.index,
            mode=mode,
            mtu=mtu_of(network),
            mac="" if mode == "passthru" else endpoint.mac,
            netns_pid=pid,
            group=link_mark(endpoint),
        )

    def _create(self, network: NetworkConfig, request: bytes, what: str) -> None:
        """In passthru mode the parent is busy (EINVAL) until the namespace of the container before is torn down."""
        try:
            super()._create(network, request, what)
        except NetlinkError as error:
            if error.errno == errno.EINVAL and self._modes(network) == ("passthru",):
                raise ParentBusy(errno.EBUSY, what, detail="in mode passthru one container has the parent") from error
            raise
