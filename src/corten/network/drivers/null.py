"""The network "none": a container with its loopback alone. Daemon only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from corten.linux.netlink import NetlinkSocket
from corten.network.config import Endpoint, NetworkConfig
from corten.network.ipam import IPAddress
from corten.network.ruleset import BridgeRules


class NullDriver:
    """Nothing to do: init brings lo up."""

    name = "null"
    addressed = False
    remote = False

    def __init__(self, netlink: NetlinkSocket, *, owner: str) -> None:
        """Made as the others are; needs neither."""

    def check(self, network: NetworkConfig, others: Iterable[NetworkConfig]) -> None:
        """Any configuration works."""

    def gateway(self, network: NetworkConfig, address: IPAddress) -> str:  # noqa: ARG002 - the driver's Protocol
        """No routes."""
        return ""

    async def ensure(self, network: NetworkConfig, *, new: bool = False) -> None:
        """Nothing on the host."""

    async def remove(self, network: NetworkConfig) -> None:
        """Nothing on the host."""

    async def attach(
        self,
        network: NetworkConfig,  # noqa: ARG002
        endpoint: Endpoint,  # noqa: ARG002
        *,
        pid: int,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        """No interface."""
        return None

    async def detach(self, endpoint: Endpoint) -> None:
        """Nothing to remove."""

    def rules(self, network: NetworkConfig) -> BridgeRules | None:  # noqa: ARG002
        """No rules."""
        return None
