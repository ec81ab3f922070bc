"""Loopback and the container's interfaces, inside its network namespace. Runs in init, before any mount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corten.linux import rtnetlink
from corten.runtime.steps.base import Context, Step


class ConfigureInterfaces(Step):
    """Bring lo up and give each interface its name, addresses and routes."""

    __slots__ = ("_interfaces",)
    stage = "network"

    def __init__(self, interfaces: Sequence[dict[str, Any]]) -> None:
        self._interfaces = interfaces

    def describe(self) -> str:
        names = ", ".join(["lo", *(interface["name"] for interface in self._interfaces)])
        return f"configure interfaces {names}"

    def run(self, context: Context) -> None:
        netlink = context.netlink
        rtnetlink.configure_interfaces(self._interfaces, netlink=netlink, prepared=netlink is not None)
        if netlink is not None:
            netlink.close()
            context.netlink = None
