"""EndpointSettings: what a client may ask for, what follows from it, and what inspect shows. Pure; daemon only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

from corten.engine.networks.settings import Attached, AttachRequest
from corten.errors import Forbidden, InvalidArgument
from corten.network.config import (
    OPTION_IFNAME,
    ContainerEndpoints,
    Endpoint,
    NetworkConfig,
    check_interface_name,
    container_prefix,
)
from corten.network.service_labels import LABEL, parse_labels
from corten.spec.docker.network import EndpointSettings, PortMap

OPTION_SYSCTLS = "com.docker.network.endpoint.sysctls"
_MAC_BYTES = 6
# Init writes these as root where it still sees the host's /proc: no name may hold a path.
_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.[a-z0-9_]+\.IFNAME\.[a-z0-9_]+\Z")


def check_mac(mac: str) -> str:
    """A MAC in its usual form. Raises InvalidArgument with Docker's text."""
    if not mac:
        return ""
    try:
        raw = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    except ValueError:
        raw = b""
    if len(raw) != _MAC_BYTES or raw[0] & 1:
        raise InvalidArgument(f"{mac[:64]} is not a valid mac address")
    return raw.hex(":")


def check_endpoint(network: NetworkConfig, settings: EndpointSettings) -> None:
    """What an endpoint on the default bridge may not ask for. Raises InvalidArgument with Docker's texts."""
    if network.config_only:
        raise Forbidden("cannot create endpoint on configuration-only network")
    asked = settings.ipam_config
    static = asked is not None and (asked.ipv4_address or asked.ipv6_address)
    faults = [] if asked is None else [*_faults(4, asked.ipv4_address), *_faults(6, asked.ipv6_address)]
    if network.predefined and static:
        faults.append("user specified IP address is supported on user defined networks only")
    if network.predefined and settings.aliases:
        faults.append("network-scoped alias is supported only for containers in user defined networks")
    if faults:
        shown = faults if len(faults) == 1 else [f"* {fault}" for fault in faults]
        raise InvalidArgument("\n".join(["invalid endpoint settings:", *shown]))
    if network.driver == "ipvlan" and settings.mac_address:
        raise InvalidArgument("ipvlan interfaces do not support custom mac address assignment")
    interface_name(network, settings, [])
    endpoint_sysctls(settings)


def _faults(version: int, text: str) -> list[str]:
    """What is wrong with an address asked for."""
    try:
        right = not text or ipaddress.ip_address(text).version == version
    except ValueError:
        right = False
    return [] if right else [f"invalid IPv{version} address: {text[:64]}"]


def interface_name(network: NetworkConfig, settings: EndpointSettings, others: Sequence[Endpoint]) -> str:
    """The interface's name in the container: the one asked for, else the prefix and the lowest free number.

    Raises InvalidArgument (not a name, or that of another endpoint).
    """
    used = {endpoint.ifname for endpoint in others}
    asked = (settings.driver_opts or {}).get(OPTION_IFNAME, "")
    if not asked:
        prefix = container_prefix(network)
        return next(f"{prefix}{n}" for n in range(len(used) + 1) if f"{prefix}{n}" not in used)
    if asked in used or asked == "lo":
        raise InvalidArgument(f"interface name {asked[:64]} is in use in this container")
    return check_interface_name(asked)


def endpoint_sysctls(settings: EndpointSettings) -> dict[str, str]:
    """Sysctls of the interface: `net.ipv4.conf.IFNAME.log_martians=1,...`. Raises InvalidArgument."""
    found = {}
    for item in filter(None, (settings.driver_opts or {}).get(OPTION_SYSCTLS, "").split(",")):
        key, equals, value = item.partition("=")
        key = key.replace(".ifname.", ".IFNAME.")  # docker's command line made it lower-case up to 27
        if not equals or not _SYSCTL.match(key):
            raise InvalidArgument(
                f"invalid endpoint sysctl {item[:64]!r}: want net.(ipv4|ipv6|mpls).<x>.IFNAME.<y>=value"
            )
        found[key] = value
    return found


def _shown(gateway: str) -> str:
    """The link itself is no gateway."""
    return "" if gateway in ("0.0.0.0", "::") else gateway


def endpoint_settings(endpoint: Endpoint, asked: EndpointSettings) -> EndpointSettings:
    """`NetworkSettings.Networks.<name>` of a running container: what was asked, with what it got."""
    ipv4, _slash, prefix4 = endpoint.ipv4.partition("/")
    ipv6, _slash, prefix6 = endpoint.ipv6.partition("/")
    return EndpointSettings(
        ipam_config=asked.ipam_config,
        links=asked.links,
        aliases=asked.aliases,
        mac_address=endpoint.mac,
        driver_opts=asked.driver_opts,
        gw_priority=asked.gw_priority,
        network_id=endpoint.network,
        endpoint_id=endpoint.id,
        gateway=_shown(endpoint.gateway),
        ip_address=ipv4,
        ip_prefix_len=int(prefix4 or 0),
        ipv6_gateway=_shown(endpoint.gateway6),
        global_ipv6_address=ipv6,
        global_ipv6_prefix_len=int(prefix6 or 0),
        dns_names=endpoint.dns_names or None,
    )


def name_endpoint(
    endpoint: Endpoint, record: ContainerEndpoints, settings: EndpointSettings, request: AttachRequest
) -> None:
    """What the container of `record` is called in a user-defined network."""
    service = parse_labels(record.labels).name
    names = [request.name, *(settings.aliases or []), record.container[:12], request.hostname, service]
    endpoint.aliases = list(settings.aliases or [])
    endpoint.links = list(settings.links or [])
    endpoint.dns_names = list(dict.fromkeys(name for name in names if name))


def new_record(cid: str, request: AttachRequest, networks: Sequence[NetworkConfig]) -> ContainerEndpoints:
    """The record of a container that is to be in `networks`, before it has endpoints."""
    return ContainerEndpoints(
        container=cid,
        name=request.name,
        dns=list(request.dns),
        resolver=any(not n.predefined or (request.egress is not None and n.driver == "bridge") for n in networks),
        checked=request.checked,
        labels={label: value for label, value in request.labels.items() if label.startswith(LABEL)},
        egress=None if request.egress is None else list(request.egress),
    )


def attached(
    record: ContainerEndpoints,
    wanted: Sequence[tuple[NetworkConfig, EndpointSettings]],
    interfaces: list[dict[str, object]],
    ports: PortMap,
    *,
    renew: bool,
) -> Attached:
    """What a start is told of the networks that its container is in now."""
    pairs = zip(record.endpoints, wanted, strict=True)
    addresses = [str(a) for e in record.endpoints for version in (4, 6) if (a := e.address(version)) is not None]
    return Attached(
        interfaces=interfaces,
        settings={network.name: endpoint_settings(endpoint, asked) for endpoint, (network, asked) in pairs},
        ports=ports,
        addresses=addresses,
        ipv6=any(endpoint.ipv6 for endpoint in record.endpoints),
        resolver=record.resolver,
        renew=renew,
    )


def choose_gateways(places: Iterable[tuple[Endpoint, NetworkConfig]], interfaces: Sequence[dict[str, object]]) -> None:
    """Tell the interfaces of a container that is about to start which of them have the default routes."""
    by_name = {interface["name"]: interface for interface in interfaces}
    for key, (ifname, gateway) in default_gateways(places).items():
        by_name[ifname][key] = gateway


def default_gateways(places: Iterable[tuple[Endpoint, NetworkConfig]]) -> dict[str, tuple[str, str]]:
    """What a container's default routes lead to: "gateway" and "gateway6" -> interface and address, of the network that
    leads outside and has the highest GwPriority, then the first by name; never of an internal one."""
    found: dict[str, tuple[str, str]] = {}
    outward = [(-endpoint.gw_priority, network.name, endpoint) for endpoint, network in places if not network.internal]
    for _priority, _name, endpoint in sorted(outward, key=lambda place: place[:2]):
        for key in ("gateway", "gateway6"):
            if getattr(endpoint, key):
                found.setdefault(key, (endpoint.ifname, getattr(endpoint, key)))
    return found
