"""What the daemon's configuration says of networks, and the Protocols of what the network service needs. Pure."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corten.network.ipam import DEFAULT_POOLS, Pool
from corten.network.plugins.client import Patience
from corten.network.plugins.discovery import PluginFolders
from corten.network.ports import PublishPolicy
from corten.spec.docker.network import EndpointSettings, PortMap


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """dockerd's options of the same names. `identity` seeds the unique local IPv6 prefix: the daemon's id."""

    instance: str = ""
    identity: str = "corten"
    bridge: str = ""  # --bridge: an existing bridge, or "none"
    bip: str = ""
    bip6: str = ""
    fixed_cidr: str = ""
    fixed_cidr_v6: str = ""
    default_gateway: str = ""
    default_gateway_v6: str = ""
    mtu: int = 0
    ipv6: bool = False
    icc: bool = True
    ip_masq: bool = True
    ip_forward: bool = True
    ip_forward_no_drop: bool = False
    default_ip: str = ""  # --ip
    userland_proxy: bool = True
    publish_policy: PublishPolicy = PublishPolicy.DOCKER
    address_pools: tuple[Pool, ...] = DEFAULT_POOLS
    plugin_folders: PluginFolders = field(default_factory=PluginFolders)
    plugin_patience: Patience = field(default_factory=Patience)

    @property
    def table(self) -> str:
        """The nftables table, and the mark on links."""
        return f"corten{self.instance}"

    @property
    def default_bridge(self) -> str:
        """The default bridge's interface."""
        if self.bridge:
            return self.bridge
        return f"ct{self.instance.lstrip('-')}" if self.instance else "corten0"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRequest:
    """What a container asks of its networks. `endpoints` is by network name or id, as its record has it."""

    name: str
    mode: str = "default"
    hostname: str = ""
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    port_bindings: PortMap = field(default_factory=dict)
    exposed: tuple[str, ...] = ()
    publish_all: bool = False
    mac: str = ""
    dns: tuple[str, ...] = ()  # name servers given to it; none: the host's
    checked: bool = False  # it has a health check
    labels: Mapping[str, str] = field(default_factory=dict)
    egress: tuple[str, ...] | None = None  # rules of its egress list; None: unlimited


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What it got: `interfaces` for init, `settings` by network name and `ports` for inspect, and for the files:
    `addresses` for its own line in hosts, `ipv6` whether it can reach IPv6 name servers, `resolver` whether the
    embedded one serves it. `renew`: the sandbox's network namespace has an interface that this container does not want;
    init leaves it for a new one."""

    interfaces: list[dict[str, object]] = field(default_factory=list)
    settings: dict[str, EndpointSettings] = field(default_factory=dict)
    ports: PortMap = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    ipv6: bool = False
    resolver: bool = False
    renew: bool = False


class Records(Protocol):
    """A table of the daemon's database."""

    def put(self, key: str, value: bytes, name: str = "") -> None:
        """Store."""

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""

    def list(self) -> Iterable[tuple[str, bytes]]:
        """All (key, value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerView:
    """What the network verbs must know of a container. `pid` is 0 when it does not run."""

    id: str
    name: str
    mode: str
    pid: int = 0
    hostname: str = ""
    networks: dict[str, EndpointSettings] = field(default_factory=dict)
    dns: tuple[str, ...] = ()
    checked: bool = False
    egress: tuple[str, ...] | None = None


class ContainerDirectory(Protocol):
    """The containers, as connect and disconnect need them; given by wire.py."""

    def view(self, reference: str) -> ContainerView:
        """By name, id or prefix. Raises NotFound `No such container: x`."""

    async def set_endpoint(
        self, cid: str, network: str, settings: EndpointSettings | None, *, resolver: bool = False
    ) -> None:
        """Record that a container is in a network (None: no longer), and tell a running one in its files. With
        `resolver` the embedded name server serves it from now on."""

    def using(self, network_id: str, name: str) -> list[str]:
        """Names of containers, running or not, that are configured for a network."""

    def announce(self, cid: str, action: str, about: Mapping[str, str]) -> None:
        """Publish an event of a container, with its own attributes and these."""


class NetnsSockets(Protocol):
    """Sockets of other network namespaces. The daemon never calls setns: the zygote side provides this."""

    async def open_sockets(
        self,
        cid: str,
        wanted: Sequence[tuple[int, int, int, str]],
        *,
        sysctls: Mapping[str, Mapping[str, str]] = ...,
    ) -> list[socket.socket]:
        """Sockets (family, type, protocol, address to bind to or "") in a running container's network namespace, TCP
        ones with an address listening; they do not block and are the caller's. Before that `sysctls` (interface -> key
        -> value) are written there. Raises Unavailable, OSError."""
