"""From what a client asks to a network's record: names, drivers, configuration networks, address pools. Daemon only.

Decides; reads, records and makes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import UTC, datetime

from msgspec import structs

from corten.engine.networks.listing import ipam_config
from corten.engine.networks.registry import Registry, as_asked, new_id
from corten.errors import Conflict, Forbidden, InvalidArgument, NotFound, Unavailable
from corten.network.config import NetworkConfig
from corten.network.ipam import Taken
from corten.network.ipam_config import check_ipam
from corten.network.vxlan import own_gateway
from corten.spec.docker.network import IPAM, IPAMConfig, NetworkCreateRequest

_PREDEFINED = ("bridge", "host", "none", "default")
_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_OPERATOR_FIELDS = (
    "configuration network can only contain network specific fields. "
    "Network operator fields like [ ingress | internal | attachable | scope ] are not supported."
)


def plan(
    request: NetworkCreateRequest,
    registry: Registry,
    *,
    drivers: Container[str],
    ipam_known: Callable[[str], bool],
    taken: Taken,
) -> NetworkConfig:
    """The record of a new network; `taken` has the host's prefixes.

    Raises InvalidArgument, Conflict, Forbidden, NotFound, Unavailable.
    """
    _check_name(request, registry)
    driver = "null" if request.config_only else request.driver or "bridge"
    _check_kind(request, driver, drivers)
    network = NetworkConfig(
        id=new_id(),
        name=request.name,
        driver=driver,
        created=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        scope=request.scope or "local",
        enable_ipv4=request.enable_ipv4 is not False,
        enable_ipv6=bool(request.enable_ipv6),
        internal=request.internal,
        attachable=request.attachable,
        options=dict(request.options or {}),
        labels=dict(request.labels or {}),
        config_only=request.config_only,
    )
    ipam = request.ipam or IPAM()
    if request.config_from is not None and request.config_from.network:
        ipam = _take_configuration(network, request, registry.by_name(request.config_from.network))
    network.ipam_driver = ipam.driver or "default"
    if not ipam_known(network.ipam_driver):
        raise NotFound(f'plugin "{ipam.driver[:64]}" not found')
    if not network.enable_ipv4 and not network.enable_ipv6:
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    configs = [config for config in ipam.config or [] if config.subnet or config.gateway or config.ip_range]
    check_ipam(configs, ipv4=network.enable_ipv4, ipv6=network.enable_ipv6)
    network.ipam_options = dict(ipam.options or {})
    if network.ipam_driver == "null" and configs:
        raise InvalidArgument("null ipam driver does not handle specific address pool requests")
    if network.config_only or network.ipam_driver != "default":  # a plugin is asked for them, `null` has none
        network.subnets = [as_asked(config) for config in configs]
        return network
    if driver == "vxlan":
        configs = [_own_gateway(config) for config in configs]
    found = registry.subnets(configs, ipv4=network.enable_ipv4, ipv6=network.enable_ipv6, taken=taken)
    enabled = {4: network.enable_ipv4, 6: network.enable_ipv6}
    network.subnets = [subnet for subnet in found if enabled[subnet.network().version]]
    return network


def _own_gateway(config: IPAMConfig) -> IPAMConfig:
    """Of a subnet that other hosts have, too, this one's part has its gateway."""
    if not config.ip_range or config.gateway:
        return config
    return structs.replace(config, gateway=own_gateway(as_asked(config)))


def _check_name(request: NetworkCreateRequest, registry: Registry) -> None:
    if request.name in _PREDEFINED:
        raise Forbidden(f"operation is not permitted on predefined {request.name} network")
    if not request.name.strip():
        raise InvalidArgument(f"invalid name: {request.name}")
    if registry.by_name(request.name) is not None:
        raise Conflict(f"network with name {request.name} already exists")


def _check_kind(request: NetworkCreateRequest, driver: str, drivers: Container[str]) -> None:
    """Driver, scope and the fields that only a swarm has."""
    scope = request.scope or "local"
    if request.config_only and (request.internal or request.ingress or request.attachable or scope != "local"):
        raise Forbidden(_OPERATOR_FIELDS)
    if request.ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if driver in ("host", "null") and not request.config_only:
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Unavailable(_NO_SWARM)
    if driver not in drivers:
        raise NotFound(f'plugin "{driver[:64]}" not found')
    if scope == "swarm":
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")
    if scope not in ("local", "global"):
        raise InvalidArgument(f"invalid network scope {scope[:64]!r}: want local or global")


def _take_configuration(network: NetworkConfig, request: NetworkCreateRequest, source: NetworkConfig | None) -> IPAM:
    """Everything but the operator's fields comes from the configuration network."""
    assert request.config_from is not None
    asked = request.ipam or IPAM()
    if request.config_only:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    if request.enable_ipv6 or request.labels or asked.config or asked.options or asked.driver not in ("", "default"):
        raise Forbidden(
            "user specified configurations are not supported if the network depends on a configuration network"
        )
    if request.options:
        raise Forbidden("network driver options are not supported if the network depends on a configuration network")
    if source is None or not source.config_only:
        raise NotFound(f'configuration network "{request.config_from.network[:64]}" does not exist')
    network.config_from = source.name
    network.enable_ipv4, network.enable_ipv6 = source.enable_ipv4, source.enable_ipv6
    network.options, network.labels = dict(source.options), dict(source.labels)
    return IPAM(options=dict(source.ipam_options), config=[ipam_config(subnet) for subnet in source.subnets])
