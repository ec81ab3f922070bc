"""The drivers and modes that the contract of network drivers is shown on."""

import secrets
from dataclasses import dataclass, field

from corten.network.config import NetworkConfig, SubnetConfig

LAN = "203.0.113.2"  # the neighbour on lan0


@dataclass(frozen=True)
class Case:
    """A driver in one of its modes."""

    driver: str
    options: dict[str, str] = field(default_factory=dict)
    members: bool = True  # containers reach one another
    lan: bool = False  # they reach the neighbour on the parent
    routed: bool = False  # which has a route to them by way of the host
    most: int = 2

    def network(self, **more):
        on_lan = self.lan and not self.routed
        subnet = "203.0.113.0/24" if on_lan else "10.99.0.0/24"
        gateway = LAN if on_lan else "10.99.0.1"
        return NetworkConfig(
            id=secrets.token_hex(32),
            name="net",
            driver=self.driver,
            created="2024-01-01T00:00:00Z",
            subnets=[SubnetConfig(subnet=subnet, gateway=gateway)],
            options=dict(self.options),
            **more,
        )


def _on_lan(driver, mode, *, members=True, most=2, parent="lan0", lan=True, routed=False, **options):
    key = {"macvlan": "macvlan_mode", "ipvlan": "ipvlan_mode"}[driver]
    chosen = {"parent": parent, key: mode, **options}
    return Case(driver, chosen, members=members, lan=lan, routed=routed, most=most)


CASES = {
    "bridge": Case("bridge"),
    "bridge-no-icc": Case("bridge", {"com.docker.network.bridge.enable_icc": "false"}, members=False),
    "host": Case("host", most=0),
    "null": Case("null", most=0),
    "macvlan": _on_lan("macvlan", "bridge"),
    "macvlan-private": _on_lan("macvlan", "private", members=False),
    "macvlan-vepa": _on_lan("macvlan", "vepa", members=False),
    "macvlan-passthru": _on_lan("macvlan", "passthru", most=1),
    "macvlan-vlan": _on_lan("macvlan", "bridge", parent="lan0.50", lan=False),
    "macvlan-dummy": Case("macvlan"),
    "ipvlan": _on_lan("ipvlan", "l2"),
    "ipvlan-private": _on_lan("ipvlan", "l2", members=False, ipvlan_flag="private"),
    "ipvlan-l3": _on_lan("ipvlan", "l3", routed=True),
    "ipvlan-l3s": _on_lan("ipvlan", "l3s", routed=True),
    "ipvlan-vlan": _on_lan("ipvlan", "l2", parent="lan0.50", lan=False),
    "ipvlan-dummy": Case("ipvlan"),
}
