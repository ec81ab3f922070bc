"""The predefined networks: bridge with the daemon's options, host and none. Daemon only.

The default bridge's subnet is, in this order: `--bip`, what the bridge device has already, what it was last time, the
first free one of the pools. Ids stay over restarts.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from corten.engine.networks.registry import Registry, new_id
from corten.engine.networks.settings import NetworkSettings
from corten.errors import InvalidArgument
from corten.linux.netlink import NetlinkSocket
from corten.linux.rtnetlink import list_addresses, list_links, list_routes
from corten.network.config import (
    OPTION_DEFAULT_BRIDGE,
    OPTION_HOST_BINDING,
    OPTION_ICC,
    OPTION_MASQUERADE,
    OPTION_MTU,
    OPTION_NAME,
    NetworkConfig,
    SubnetConfig,
)
from corten.network.ipam import IPNetwork, Taken, overlaps, parse_address, parse_subnet
from corten.network.ruleset import BridgeRules
from corten.spec.docker.network import IPAMConfig

__all__ = ["BridgeRules", "ensure_predefined", "host_prefixes"]


def host_prefixes(netlink: NetlinkSocket, *, ignore: str = "") -> list[IPNetwork]:
    """The prefixes that the host's routes and addresses use, those of link `ignore` left out."""
    ignored = {link.index for link in list_links(netlink) if link.name == ignore} if ignore else set()
    texts = [text for index, text in [*list_routes(netlink), *list_addresses(netlink)] if index not in ignored]
    return [ipaddress.ip_interface(text).network for text in texts]


def ensure_predefined(settings: NetworkSettings, registry: Registry, netlink: NetlinkSocket) -> None:
    """Record bridge, host and none as the configuration wants them. Raises InvalidArgument, ResourceExhausted."""
    for name, driver in (("host", "host"), ("none", "null")):
        if registry.by_name(name) is None:
            registry.add(NetworkConfig(id=new_id(), name=name, driver=driver, created=_now(), predefined=True))
    known = registry.by_name("bridge")
    if settings.bridge == "none":
        if known is not None:
            registry.remove(known)
        return
    if known is not None:
        registry.remove(known)  # its own subnet must not be in its way
    network = NetworkConfig(
        id=known.id if known else new_id(),
        name="bridge",
        driver="bridge",
        created=known.created if known else _now(),
        enable_ipv6=settings.ipv6,
        subnets=_subnets(settings, registry, netlink, known),
        options=_options(settings),
        predefined=True,
    )
    registry.add(network)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _options(settings: NetworkSettings) -> dict[str, str]:
    return {
        OPTION_DEFAULT_BRIDGE: "true",
        OPTION_ICC: str(settings.icc).lower(),
        OPTION_MASQUERADE: str(settings.ip_masq).lower(),
        OPTION_HOST_BINDING: settings.default_ip or "0.0.0.0",
        OPTION_NAME: settings.default_bridge,
        OPTION_MTU: str(settings.mtu or 1500),
    }


def _subnets(
    settings: NetworkSettings, registry: Registry, netlink: NetlinkSocket, known: NetworkConfig | None
) -> list[SubnetConfig]:
    index = next((link.index for link in list_links(netlink) if link.name == settings.default_bridge), None)
    present = [ipaddress.ip_interface(text) for i, text in list_addresses(netlink) if i == index]
    if settings.bridge and index is None:
        raise InvalidArgument(f"bridge {settings.bridge} (--bridge) does not exist")
    if settings.bridge and not any(interface.version == 4 for interface in present):
        raise InvalidArgument(f"bridge {settings.bridge} (--bridge) has no IPv4 address")
    taken = host_prefixes(netlink, ignore=settings.default_bridge)
    configs = []
    for version, bip, cidr, gateway in (
        (4, settings.bip, settings.fixed_cidr, settings.default_gateway),
        (6, settings.bip6, settings.fixed_cidr_v6, settings.default_gateway_v6),
    ):
        if version == 6 and not settings.ipv6:
            continue
        config = _asked(version, bip, cidr) or _present(version, present) or _known(version, known, taken)
        if gateway:
            raise_unless_contained(gateway, config)
        if config is not None:
            config.ip_range = cidr if cidr and parse_subnet(cidr) != parse_subnet(config.subnet) else ""
            configs.append(config)
    return registry.subnets(configs, ipv4=True, ipv6=settings.ipv6, taken=Taken(taken))


def raise_unless_contained(gateway: str, config: IPAMConfig | None) -> None:
    """`--default-gateway` must lie in the bridge's subnet. Raises InvalidArgument."""
    if config is None or parse_address(gateway) not in parse_subnet(config.subnet):
        raise InvalidArgument(f"default gateway {gateway} is not in the bridge's subnet; set --bip as well")


def _asked(version: int, bip: str, cidr: str) -> IPAMConfig | None:
    """`--bip` has the address and the subnet; `--fixed-cidr` alone is both range and subnet for IPv6."""
    if bip:
        try:
            interface = ipaddress.ip_interface(bip)
        except ValueError:
            raise InvalidArgument(f"invalid bridge IP (--bip): {bip[:64]}") from None
        return IPAMConfig(subnet=str(interface.network), gateway=str(interface.ip))
    if cidr and version == 6:
        return IPAMConfig(subnet=cidr)
    return None


def _present(version: int, present: list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]) -> IPAMConfig | None:
    for interface in present:
        if interface.version == version and not interface.ip.is_link_local:
            return IPAMConfig(subnet=str(interface.network), gateway=str(interface.ip))
    return None


def _known(version: int, known: NetworkConfig | None, taken: list[IPNetwork]) -> IPAMConfig | None:
    before = known.subnet(version) if known else None
    if before is None or any(overlaps(before.network(), other) for other in taken):
        return None
    return IPAMConfig(subnet=before.subnet, gateway=before.gateway)
