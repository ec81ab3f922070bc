"""Wire types of services: an address whose connections are spread over containers. Pure; daemon. Documented in
docs/networks.md."""

from __future__ import annotations

import msgspec


class ServiceMember(msgspec.Struct, rename="pascal", kw_only=True):
    """A running container in a service. `state`: serving, draining, starting or unhealthy; `health` "" without a check;
    `connections`: those that it was chosen for, and that can be counted still."""

    container: str
    name: str
    addresses: list[str]
    weight: int
    state: str
    health: str
    connections: int


class ServicePort(msgspec.Struct, rename="pascal", kw_only=True):
    """A port of the host that members share."""

    host_ip: str = msgspec.field(name="HostIP")
    published_port: int
    target_port: int
    protocol: str


class Service(msgspec.Struct, rename="pascal", kw_only=True):
    """A service. `addresses` are its own; `holders` counts the containers that have it, running or not."""

    id: str = msgspec.field(name="ID")
    name: str
    network: str
    network_id: str = msgspec.field(name="NetworkID")
    addresses: list[str]
    balance: str
    holders: int
    ports: list[ServicePort]
    members: list[ServiceMember]
    connections: int
