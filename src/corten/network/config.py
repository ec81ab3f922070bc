"""What a network is: its record, its options as values, and the record of a container's place in it. Pure; daemon only.

The structs are stored as JSON by engine/networks. Option names are Docker's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from corten.errors import InvalidArgument
from corten.network.ipam import IPAddress, IPNetwork

OPTION_NAME = "com.docker.network.bridge.name"
OPTION_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_ICC = "com.docker.network.bridge.enable_icc"
OPTION_HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
OPTION_GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv"  # followed by 4 or 6
OPTION_DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
OPTION_MTU = "com.docker.network.driver.mtu"
OPTION_CONTAINER_PREFIX = "com.docker.network.container_iface_prefix"
OPTION_PARENT = "parent"
OPTION_IFNAME = "com.docker.network.endpoint.ifname"
DRIVERS_WITH_BRIDGES = ("bridge", "vxlan")
_INTERFACE = re.compile(r"[A-Za-z0-9_.\-]{1,15}\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}\Z")
_MIN_MTU, _MIN_MTU_IPV6, _MAX_MTU = 68, 1280, 65535
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}


class GatewayMode(StrEnum):
    """How containers of a bridge network and the world outside reach each other, in one IP family.

    NAT: by published ports and with the host's address. NAT_UNPROTECTED: so, and directly to every port. ROUTED: with
    their own addresses, inward to published ports alone. ISOLATED: not at all, the host itself has no address there.
    """

    NAT = "nat"
    NAT_UNPROTECTED = "nat-unprotected"
    ROUTED = "routed"
    ISOLATED = "isolated"


class SubnetConfig(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A subnet of a network; `gateway` is the host's address on the bridge.

    `pool_id` and `address_space` are what a plugin that manages the addresses calls it.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: dict[str, str] = {}
    pool_id: str = ""
    address_space: str = ""

    def network(self) -> IPNetwork:
        """The subnet."""
        return ipaddress.ip_network(self.subnet)

    def gateway_address(self) -> IPAddress | None:
        """The gateway, if there is one."""
        return ipaddress.ip_address(self.gateway) if self.gateway else None


class NetworkConfig(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A network's record.

    `pending`: it is being made or taken away with a plugin's help. A daemon that finds such a record takes it away.
    """

    id: str
    name: str
    driver: str
    created: str
    scope: str = "local"
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    subnets: list[SubnetConfig] = []
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = {}
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    predefined: bool = False
    config_only: bool = False
    config_from: str = ""
    pending: bool = False

    def subnet(self, version: int) -> SubnetConfig | None:
        """The first subnet of a family."""
        return next((s for s in self.subnets if s.network().version == version), None)

    def gateway_of(self, address: IPAddress) -> str:
        """The gateway of the subnet that an address is of; "" for none."""
        return next((s.gateway for s in self.subnets if address in s.network()), "")


class PortRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A published port of an endpoint; `service`: the key of the service whose members share it."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int
    sources: list[str] = []
    service: str = ""


class Endpoint(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A container's place in a network, while it runs."""

    id: str
    network: str
    veth: str = ""  # the host's end, when there is one
    netns: int = -1  # else the id (NSID) of the network namespace that the driver placed the link in
    ifname: str = ""
    mac: str = ""
    ipv4: str = ""  # with prefix length
    ipv6: str = ""
    gateway: str = ""
    gateway6: str = ""
    gw_priority: int = 0
    aliases: list[str] = []
    dns_names: list[str] = []
    links: list[str] = []
    options: dict[str, str] = {}  # of the driver

    def address(self, version: int) -> IPAddress | None:
        """The endpoint's address of a family."""
        text = self.ipv4 if version == 4 else self.ipv6
        return ipaddress.ip_interface(text).ip if text else None


class ContainerEndpoints(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All of a running container's endpoints and published ports: what is stored while it runs.

    `dns` are the name servers given to it, `resolver` says that the embedded one serves it, `checked` that it has a
    health check, `health` what that has said last, `labels` what its labels say of services, `egress` are the rules of
    its egress list.
    """

    container: str
    name: str
    endpoints: list[Endpoint] = []
    ports: list[PortRecord] = []
    exposed: list[str] = []
    dns: list[str] = []
    resolver: bool = False
    checked: bool = False
    health: str = ""
    labels: dict[str, str] = {}
    egress: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """A bridge network's options as values."""

    bridge: str
    mtu: int = 0
    masquerade: bool = True
    icc: bool = True
    host_binding: str = ""
    gateway_modes: Mapping[int, GatewayMode] = field(default_factory=dict)  # by IP version

    def gateway_mode(self, version: int) -> GatewayMode:
        """How the network's containers and the world outside reach each other."""
        return self.gateway_modes.get(version, GatewayMode.NAT)


def _flag(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    shown = value[:64]
    raise InvalidArgument(
        f'failed to parse {name} value: {shown} (strconv.ParseBool: parsing "{shown}": invalid syntax)'
    )


def check_interface_name(name: str) -> str:
    """A name that a Linux interface can have (dev_valid_name). Raises InvalidArgument."""
    if not _INTERFACE.match(name) or name in (".", ".."):
        raise InvalidArgument(f"invalid interface name {name[:64]!r}")
    return name


def mtu_of(network: NetworkConfig) -> int:
    """The MTU of a network's interfaces; 0 leaves it to the kernel. Raises InvalidArgument with Docker's texts."""
    text = network.options.get(OPTION_MTU, "") or "0"
    low = _MIN_MTU_IPV6 if network.enable_ipv6 else _MIN_MTU
    if not _NUMBER.match(text):
        raise InvalidArgument(
            f'failed to parse {OPTION_MTU} value: {text[:64]} (strconv.Atoi: parsing "{text[:64]}": invalid syntax)'
        )
    value = int(text)
    if value != 0 and not low <= value <= _MAX_MTU:
        raise InvalidArgument(f"invalid MTU number: {value}")
    return value


def container_prefix(network: NetworkConfig) -> str:
    """What the names of interfaces in containers begin with. Raises InvalidArgument."""
    return check_interface_name((network.options.get(OPTION_CONTAINER_PREFIX) or "eth") + "0")[:-1]


def host_link(network: NetworkConfig) -> str:
    """The link on the host that the network stands on, "" for none: the bridge, or the parent of macvlan and ipvlan.

    A macvlan or ipvlan network without a parent gets a dummy that leads nowhere.
    """
    if network.driver in DRIVERS_WITH_BRIDGES:
        return check_interface_name(network.options.get(OPTION_NAME) or f"br-{network.id[:12]}")
    if network.driver in ("macvlan", "ipvlan"):
        return check_interface_name(network.options.get(OPTION_PARENT) or dummy_name(network.driver, network.id))
    return ""


def dummy_name(driver: str, network_id: str) -> str:
    """The parent of a macvlan or ipvlan network that has no other, named as Docker names it."""
    return f"d{driver[0]}-{network_id[:12]}"


def bridge_options(network: NetworkConfig) -> BridgeOptions:
    """The options of a bridge network. Raises InvalidArgument."""
    options = network.options
    binding = options.get(OPTION_HOST_BINDING, "")
    if binding:
        try:
            ipaddress.ip_address(binding)
        except ValueError:
            raise InvalidArgument(f"invalid {OPTION_HOST_BINDING} address {binding[:64]!r}") from None
    return BridgeOptions(
        bridge=host_link(network),
        mtu=mtu_of(network),
        masquerade=_flag(options, OPTION_MASQUERADE, default=True),
        icc=_flag(options, OPTION_ICC, default=True),
        host_binding=binding,
        gateway_modes={version: _gateway_mode(network, version) for version in (4, 6)},
    )


def _gateway_mode(network: NetworkConfig, version: int) -> GatewayMode:
    name = f"{OPTION_GATEWAY_MODE}{version}"
    text = network.options.get(name) or GatewayMode.NAT
    try:
        mode = GatewayMode(text)
    except ValueError:
        allowed = ", ".join(GatewayMode)
        raise InvalidArgument(f"invalid value for {name}: {text[:64]!r}: use one of {allowed}") from None
    if mode is GatewayMode.ISOLATED and not network.internal:
        raise InvalidArgument(f"gateway mode 'isolated' can only be used for an internal network ({name})")
    if mode not in (GatewayMode.NAT, GatewayMode.ISOLATED) and network.internal:
        raise InvalidArgument(f"gateway mode '{mode}' cannot be used for an internal network ({name})")
    return mode
