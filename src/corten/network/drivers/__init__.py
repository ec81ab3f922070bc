"""The drivers: a new one is a line here. Each is made with the daemon's netlink socket and the mark for its links."""

from __future__ import annotations

from typing import Protocol

from corten.linux.netlink import NetlinkSocket
from corten.network.driver import NetworkDriver
from corten.network.drivers.bridge import BridgeDriver
from corten.network.drivers.host import HostDriver
from corten.network.drivers.ipvlan import IpvlanDriver
from corten.network.drivers.macvlan import MacvlanDriver
from corten.network.drivers.null import NullDriver
from corten.network.drivers.vxlan import VxlanDriver


class DriverKind(Protocol):
    """A class of drivers."""

    name: str

    def __call__(self, netlink: NetlinkSocket, *, owner: str) -> NetworkDriver:
        """The driver of one daemon."""


DRIVERS: tuple[DriverKind, ...] = (BridgeDriver, HostDriver, IpvlanDriver, MacvlanDriver, NullDriver, VxlanDriver)

__all__ = ["DRIVERS", "BridgeDriver", "DriverKind"]
