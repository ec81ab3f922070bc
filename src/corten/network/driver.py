"""What a network driver does for the service. Daemon only; drivers are blocking, most calls take under a millisecond.

A driver makes links; addresses are the service's (`network.ipam`), rules the firewall's (`network.firewall`). A new
driver is a file in drivers/ and a line in `drivers/__init__.py: DRIVERS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from corten.linux.netlink import NetlinkError
from corten.network.config import Endpoint, NetworkConfig
from corten.network.ipam import IPAddress
from corten.network.ruleset import BridgeRules


class ParentBusy(NetlinkError):
    """What the interface stands on is another's, who may have ended and be on the way out: to be tried again soon."""


class NetworkDriver(Protocol):
    """One kind of network."""

    name: str
    addressed: bool
    """Whether its endpoints have an interface with addresses."""

    def check(self, network: NetworkConfig, others: Iterable[NetworkConfig]) -> None:
        """Whether this configuration can work beside those of the others. Raises InvalidArgument, Forbidden."""

    def gateway(self, network: NetworkConfig, address: IPAddress) -> str:
        """Where the default route of a container with this address goes: an address, "" for nowhere.

        The unspecified address stands for the link itself.
        """

    def ensure(self, network: NetworkConfig) -> None:
        """Make what the network needs on the host, or put right what is there. Raises OSError."""

    def remove(self, network: NetworkConfig) -> None:
        """Take it away; nothing there is no error."""

    def attach(self, network: NetworkConfig, endpoint: Endpoint, *, pid: int) -> dict[str, Any] | None:
        """Place an interface in the network namespace of `pid`; returns what init configures there, None for nothing.

        May fill in what the driver alone knows of the endpoint: its `mac`, its `netns`. Raises OSError, ParentBusy.

        The fields are those of docs/architecture.md, without the default gateway.
        """

    def detach(self, endpoint: Endpoint) -> None:
        """Remove the endpoint's interface, now; it may be gone already."""

    def rules(self, network: NetworkConfig) -> BridgeRules | None:
        """What the firewall must know of the network."""
