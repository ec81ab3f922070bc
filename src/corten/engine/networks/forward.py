"""What lets packets of all networks pass the host: the kernel's forwarding, and the rules. Daemon only, on the loop."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from corten.engine.networks.drivers import Drivers
from corten.engine.networks.registry import Registry
from corten.engine.networks.settings import NetworkSettings
from corten.network.firewall import Firewall
from corten.network.ruleset import PortRule

_LOG = logging.getLogger("corten.network")


class Forwarding:
    """The kernel's view of the networks that the registry has."""

    def __init__(self, *, settings: NetworkSettings, registry: Registry, drivers: Drivers, firewall: Firewall) -> None:
        self._settings = settings
        self._registry = registry
        self._drivers = drivers
        self._firewall = firewall

    def enable(self, *, ipv6: bool) -> None:
        """Switch the kernel's forwarding on, where it may be (not with /proc/sys read-only)."""
        if not self._settings.ip_forward:
            return
        try:
            self._firewall.enable_forwarding(ipv6=ipv6, guard=not self._settings.ip_forward_no_drop)
        except OSError:
            _LOG.exception("IP forwarding could not be enabled; containers have no way outside")

    def replace_rules(self, ports: Iterable[PortRule] | None = None) -> None:
        """The rules of all networks anew; of published ports too when they are given. Raises Unavailable."""
        ready = [network for network in self._registry.all() if not network.pending]
        rules = [self._drivers[network.driver].rules(network) for network in ready]
        found = [rule for rule in rules if rule is not None]
        if ports is None:
            self._firewall.replace(found)
        else:
            self._firewall.replace(found, list(ports))
