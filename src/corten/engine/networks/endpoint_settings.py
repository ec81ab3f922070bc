"""EndpointSettings: what a client may ask for, what follows from it, and what inspect shows. Pure; daemon only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from corten.engine.networks.settings import AttachRequest
from corten.errors import InvalidArgument
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig
from corten.spec.docker.network import EndpointSettings

_MAC_BYTES = 6


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
    asked = settings.ipam_config
    static = asked is not None and (asked.ipv4_address or asked.ipv6_address)
    if network.predefined and static:
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if network.predefined and settings.aliases:
        raise InvalidArgument("network-scoped aliases are only supported for user-defined networks")


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
        gateway=endpoint.gateway,
        ip_address=ipv4,
        ip_prefix_len=int(prefix4 or 0),
        ipv6_gateway=endpoint.gateway6,
        global_ipv6_address=ipv6,
        global_ipv6_prefix_len=int(prefix6 or 0),
        dns_names=endpoint.dns_names or None,
    )


def new_record(cid: str, request: AttachRequest, networks: Sequence[NetworkConfig]) -> ContainerEndpoints:
    """The record of a container that is to be in `networks`, before it has endpoints."""
    return ContainerEndpoints(
        container=cid,
        name=request.name,
        dns=list(request.dns),
        resolver=any(not network.predefined for network in networks),
        checked=request.checked,
    )


def choose_gateways(
    record: ContainerEndpoints,
    wanted: Sequence[tuple[NetworkConfig, EndpointSettings]],
    interfaces: Sequence[dict[str, object]],
) -> None:
    """The default gateway: of the network with the highest GwPriority, then by name; never of an internal one."""
    by_name = {interface["name"]: interface for interface in interfaces}
    for key, text in (("gateway", "gateway"), ("gateway6", "gateway6")):
        candidates = [
            (-settings.gw_priority, network.name, endpoint)
            for endpoint, (network, settings) in zip(record.endpoints, wanted, strict=True)
            if getattr(endpoint, text) and not network.internal and endpoint.ifname in by_name
        ]
        if candidates:
            best = min(candidates, key=lambda item: item[:2])[2]
            by_name[best.ifname][key] = getattr(best, text)


def default_gateways(places: Iterable[tuple[Endpoint, NetworkConfig]]) -> dict[str, tuple[str, str]]:
    """What a running container's default routes lead to: "gateway" and "gateway6" -> interface and address, of the
    first network by name that leads outside."""
    found: dict[str, tuple[str, str]] = {}
    outward = [(network.name, endpoint) for endpoint, network in places if not network.internal]
    for _name, endpoint in sorted(outward, key=lambda place: place[0]):
        for key in ("gateway", "gateway6"):
            if getattr(endpoint, key):
                found.setdefault(key, (endpoint.ifname, getattr(endpoint, key)))
    return found
