"""The drivers by name. `bridge` needs the host's links and is made by the service."""

from __future__ import annotations

from corten.network.drivers.bridge import BridgeDriver
from corten.network.drivers.host import HostDriver
from corten.network.drivers.null import NullDriver

DRIVERS = (BridgeDriver, HostDriver, NullDriver)

__all__ = ["DRIVERS", "BridgeDriver", "HostDriver", "NullDriver"]
