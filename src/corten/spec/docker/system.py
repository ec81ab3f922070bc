"""Docker's wire types for the engine itself: version, info, disk usage, events. Pure.

Source: Docker Engine API 1.24 to 1.50. Lists and maps that clients index without looking are never null.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Platform(msgspec.Struct, rename="pascal", kw_only=True):
    """The product's name."""

    name: str


class Component(msgspec.Struct, rename="pascal", kw_only=True):
    """One part of the engine."""

    name: str
    version: str
    details: dict[str, str] | UnsetType = UNSET


class Version(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer of `GET /version`."""

    platform: Platform
    components: list[Component]
    version: str
    api_version: str = msgspec.field(name="ApiVersion")
    min_api_version: str = msgspec.field(name="MinAPIVersion")
    git_commit: str
    go_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str | UnsetType = UNSET


class Plugins(msgspec.Struct, rename="pascal", kw_only=True):
    """Names of drivers by kind."""

    volume: list[str]
    network: list[str]
    authorization: list[str] | None = None
    log: list[str]


class IndexInfo(msgspec.Struct, rename="pascal", kw_only=True):
    """One registry."""

    name: str
    mirrors: list[str]
    secure: bool
    official: bool


class RegistryConfig(msgspec.Struct, kw_only=True):
    """How registries are spoken to."""

    allow_nondistributable_cidrs: list[str] | None = msgspec.field(
        name="AllowNondistributableArtifactsCIDRs", default=None
    )
    allow_nondistributable_names: list[str] | None = msgspec.field(
        name="AllowNondistributableArtifactsHostnames", default=None
    )
    insecure_cidrs: list[str] = msgspec.field(name="InsecureRegistryCIDRs")
    index_configs: dict[str, IndexInfo] = msgspec.field(name="IndexConfigs")
    mirrors: list[str] = msgspec.field(name="Mirrors")


class Runtime(msgspec.Struct, kw_only=True):
    """An OCI runtime that containers may ask for."""

    path: str


class Commit(msgspec.Struct, kw_only=True):
    """A part's build."""

    id: str = msgspec.field(name="ID")


class SwarmInfo(msgspec.Struct, kw_only=True):
    """No swarm."""

    node_id: str = msgspec.field(name="NodeID", default="")
    node_addr: str = msgspec.field(name="NodeAddr", default="")
    local_node_state: str = msgspec.field(name="LocalNodeState", default="inactive")
    control_available: bool = msgspec.field(name="ControlAvailable", default=False)
    error: str = msgspec.field(name="Error", default="")
    remote_managers: list[Any] | None = msgspec.field(name="RemoteManagers", default=None)


class AddressPool(msgspec.Struct, rename="pascal", kw_only=True):
    """A pool that networks take their subnets from."""

    base: str
    size: int


class Info(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer of `GET /info`."""

    id: str = msgspec.field(name="ID")
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str
    driver_status: list[tuple[str, str]]
    plugins: Plugins
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool = msgspec.field(name="CpuCfsPeriod")
    cpu_cfs_quota: bool = msgspec.field(name="CpuCfsQuota")
    cpu_shares: bool = msgspec.field(name="CPUShares")
    cpu_set: bool = msgspec.field(name="CPUSet")
    pids_limit: bool
    ipv4_forwarding: bool = msgspec.field(name="IPv4Forwarding")
    debug: bool
    n_fd: int = msgspec.field(name="NFd")
    oom_kill_disable: bool
    n_goroutines: int = msgspec.field(name="NGoroutines")
    system_time: str
    logging_driver: str
    cgroup_driver: str
    cgroup_version: str
    n_events_listener: int = msgspec.field(name="NEventsListener")
    kernel_version: str
    operating_system: str
    os_version: str = msgspec.field(name="OSVersion")
    os_type: str = msgspec.field(name="OSType")
    architecture: str
    index_server_address: str = "https://index.docker.io/v1/"
    registry_config: RegistryConfig
    ncpu: int = msgspec.field(name="NCPU")
    mem_total: int
    generic_resources: None = None
    docker_root_dir: str
    http_proxy: str
    https_proxy: str
    no_proxy: str
    name: str
    labels: list[str]
    experimental_build: bool
    server_version: str
    runtimes: dict[str, Runtime]
    default_runtime: str
    swarm: SwarmInfo
    live_restore_enabled: bool
    isolation: str = ""
    init_binary: str
    containerd_commit: Commit
    runc_commit: Commit
    init_commit: Commit
    security_options: list[str]
    default_address_pools: list[AddressPool] | UnsetType = UNSET
    firewall_backend: dict[str, str] | UnsetType = UNSET
    cdi_spec_dirs: list[str] = msgspec.field(name="CDISpecDirs", default_factory=list)
    warnings: list[str]


class DiskUse(msgspec.Struct, rename="pascal", kw_only=True):
    """What one kind of content takes on disk. Corten's own; Docker's client does not read it."""

    type: str
    count: int
    size: int
    reclaimable: int


class DiskUsage(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer of `GET /system/df`: what was asked for; the rest is absent."""

    layers_size: int | UnsetType = UNSET
    images: list[Any] | UnsetType = UNSET
    containers: list[Any] | UnsetType = UNSET
    volumes: list[Any] | UnsetType = UNSET
    build_cache: list[Any] | UnsetType = UNSET
    corten: list[DiskUse] | UnsetType = UNSET
    builder_size: int = 0


class Actor(msgspec.Struct, kw_only=True):
    """What an event is about."""

    id: str = msgspec.field(name="ID")
    attributes: dict[str, str] = msgspec.field(name="Attributes")


class EventMessage(msgspec.Struct, kw_only=True):
    """One event; `status`, `id` and `from` are the old form of container and image events."""

    status: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    from_: str | UnsetType = msgspec.field(name="from", default=UNSET)
    kind: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    scope: str = "local"
    time: int
    time_nano: int = msgspec.field(name="timeNano")


def event_message(kind: str, action: str, actor: str, attributes: dict[str, str], time_ns: int) -> EventMessage:
    """An event in Docker's form."""
    message = EventMessage(
        kind=kind,
        action=action,
        actor=Actor(id=actor, attributes=attributes),
        time=time_ns // 10**9,
        time_nano=time_ns,
    )
    if kind in {"container", "image"}:
        message.status = action
        message.id = actor
    if kind == "container":
        message.from_ = attributes.get("image", "")
    return message
