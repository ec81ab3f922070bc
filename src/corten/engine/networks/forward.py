"""What lets packets of all networks pass the host: the kernel's forwarding, and the rules. Daemon only, on the loop."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from corten.engine.networks.drivers import Drivers
from corten.engine.networks.registry import Registry
from corten.engine.networks.settings import NetworkSettings
from corten.errors import Unavailable
from corten.network.firewall import Firewall
from corten.network.firewall_watch import FirewallWatch
from corten.network.ruleset import BridgeRules, PortRule

_LOG = logging.getLogger("corten.network")


class Forwarding:
    """The kernel's view of the networks that the registry has."""

    def __init__(
        self,
        *,
        settings: NetworkSettings,
        registry: Registry,
        drivers: Drivers,
        firewall: Firewall,
        watch: FirewallWatch,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._drivers = drivers
        self._firewall = firewall
        self._watch = watch

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
        if ports is None:
            self._firewall.replace(self._rules())
        else:
            self._firewall.replace(self._rules(), list(ports))

    def network_removed(self) -> None:
        """The rules without those of a network that is gone. They would go on dropping for its subnet, which may be
        somebody else's tomorrow: when they cannot be replaced now, that is tried until it works."""
        try:
            self.replace_rules()
        except (Unavailable, OSError):
            _LOG.exception("the rules of a removed network stay for now; this is tried again")
            self._firewall.expect(self._rules())
            self._watch.repair()

    def _rules(self) -> list[BridgeRules]:
        ready = [network for network in self._registry.all() if not network.pending]
        rules = [self._drivers[network.driver].rules(network) for network in ready]
        return [rule for rule in rules if rule is not None]
