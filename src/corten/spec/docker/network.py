"""Wire types of networks, endpoints and published ports, as the Docker API spells them. Pure data.

Fields that Docker sends as null stay None; those it leaves out when empty carry UNSET (`omitempty` of its Go types).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class PortBinding(msgspec.Struct, kw_only=True, frozen=True):
    """One host address and port. HostPort is a number, a range, or empty for any free one.

    From is Corten's own: the address ranges that may connect, all when absent. Docker's clients leave it unread.
    """

    host_ip: str = msgspec.field(name="HostIp", default="")
    host_port: str = msgspec.field(name="HostPort", default="")
    sources: list[str] | UnsetType = msgspec.field(name="From", default=UNSET)


# "80/tcp" -> bindings; None for a port that is exposed and not published
PortMap = dict[str, list[PortBinding] | None]


class EndpointIPAMConfig(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Addresses that a client asks for."""

    ipv4_address: str = msgspec.field(name="IPv4Address", default="")
    ipv6_address: str = msgspec.field(name="IPv6Address", default="")
    link_local_ips: list[str] | None = msgspec.field(name="LinkLocalIPs", default=None)


class EndpointSettings(msgspec.Struct, kw_only=True):
    """A container's place in one network: what was asked, and behind it what it got while it runs."""

    ipam_config: EndpointIPAMConfig | None = msgspec.field(name="IPAMConfig", default=None)
    links: list[str] | None = msgspec.field(name="Links", default=None)
    aliases: list[str] | None = msgspec.field(name="Aliases", default=None)
    mac_address: str = msgspec.field(name="MacAddress", default="")
    driver_opts: dict[str, str] | None = msgspec.field(name="DriverOpts", default=None)
    gw_priority: int = msgspec.field(name="GwPriority", default=0)
    network_id: str = msgspec.field(name="NetworkID", default="")
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    gateway: str = msgspec.field(name="Gateway", default="")
    ip_address: str = msgspec.field(name="IPAddress", default="")
    ip_prefix_len: int = msgspec.field(name="IPPrefixLen", default=0)
    ipv6_gateway: str = msgspec.field(name="IPv6Gateway", default="")
    global_ipv6_address: str = msgspec.field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int = msgspec.field(name="GlobalIPv6PrefixLen", default=0)
    dns_names: list[str] | None = msgspec.field(name="DNSNames", default=None)


class NetworkingConfig(msgspec.Struct, kw_only=True):
    """The networks that a container is created with."""

    endpoints_config: dict[str, EndpointSettings | None] | None = msgspec.field(name="EndpointsConfig", default=None)


class IPAMConfig(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One subnet of a network."""

    subnet: str = msgspec.field(name="Subnet", default="")
    ip_range: str = msgspec.field(name="IPRange", default="")
    gateway: str = msgspec.field(name="Gateway", default="")
    auxiliary_addresses: dict[str, str] | None = msgspec.field(name="AuxiliaryAddresses", default=None)


class IPAM(msgspec.Struct, kw_only=True):
    """Address management of a network."""

    driver: str = msgspec.field(name="Driver", default="default")
    options: dict[str, str] | None = msgspec.field(name="Options", default=None)
    config: list[IPAMConfig] | None = msgspec.field(name="Config", default=None)


class ConfigReference(msgspec.Struct, kw_only=True):
    """The config-only network that another takes its configuration from."""

    network: str = msgspec.field(name="Network", default="")


class NetworkCreateRequest(msgspec.Struct, kw_only=True):
    """Body of POST /networks/create."""

    name: str = msgspec.field(name="Name", default="")
    check_duplicate: bool | None = msgspec.field(name="CheckDuplicate", default=None)
    driver: str | None = msgspec.field(name="Driver", default=None)
    scope: str | None = msgspec.field(name="Scope", default=None)
    internal: bool = msgspec.field(name="Internal", default=False)
    attachable: bool = msgspec.field(name="Attachable", default=False)
    ingress: bool = msgspec.field(name="Ingress", default=False)
    config_only: bool = msgspec.field(name="ConfigOnly", default=False)
    config_from: ConfigReference | None = msgspec.field(name="ConfigFrom", default=None)
    ipam: IPAM | None = msgspec.field(name="IPAM", default=None)
    enable_ipv4: bool | None = msgspec.field(name="EnableIPv4", default=None)
    enable_ipv6: bool | None = msgspec.field(name="EnableIPv6", default=None)
    options: dict[str, str] | None = msgspec.field(name="Options", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class NetworkCreateResponse(msgspec.Struct, kw_only=True):
    """Reply of POST /networks/create."""

    id: str = msgspec.field(name="Id")
    warning: str = msgspec.field(name="Warning", default="")


class EndpointResource(msgspec.Struct, kw_only=True):
    """A container in a network's inspection."""

    name: str = msgspec.field(name="Name")
    endpoint_id: str = msgspec.field(name="EndpointID")
    mac_address: str = msgspec.field(name="MacAddress")
    ipv4_address: str = msgspec.field(name="IPv4Address")
    ipv6_address: str = msgspec.field(name="IPv6Address")


class NetworkResource(msgspec.Struct, kw_only=True):
    """A network as list and inspect show it."""

    name: str = msgspec.field(name="Name")
    id: str = msgspec.field(name="Id")
    created: str = msgspec.field(name="Created")
    scope: str = msgspec.field(name="Scope", default="local")
    driver: str = msgspec.field(name="Driver")
    enable_ipv4: bool = msgspec.field(name="EnableIPv4", default=True)
    enable_ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    ipam: IPAM = msgspec.field(name="IPAM")
    internal: bool = msgspec.field(name="Internal", default=False)
    attachable: bool = msgspec.field(name="Attachable", default=False)
    ingress: bool = msgspec.field(name="Ingress", default=False)
    config_from: ConfigReference = msgspec.field(name="ConfigFrom", default_factory=ConfigReference)
    config_only: bool = msgspec.field(name="ConfigOnly", default=False)
    containers: dict[str, EndpointResource] = msgspec.field(name="Containers", default_factory=dict)
    options: dict[str, str] = msgspec.field(name="Options", default_factory=dict)
    labels: dict[str, str] = msgspec.field(name="Labels", default_factory=dict)
    services: dict[str, Any] | UnsetType = msgspec.field(name="Services", default=UNSET)


class NetworkConnectRequest(msgspec.Struct, kw_only=True):
    """Body of POST /networks/{id}/connect."""

    container: str = msgspec.field(name="Container", default="")
    endpoint_config: EndpointSettings | None = msgspec.field(name="EndpointConfig", default=None)


class NetworkDisconnectRequest(msgspec.Struct, kw_only=True):
    """Body of POST /networks/{id}/disconnect."""

    container: str = msgspec.field(name="Container", default="")
    force: bool = msgspec.field(name="Force", default=False)


class NetworkPruneResponse(msgspec.Struct, kw_only=True):
    """Reply of POST /networks/prune."""

    networks_deleted: list[str] | None = msgspec.field(name="NetworksDeleted", default=None)
