"""Wire types of containers, as the Docker API spells them: create, inspect, list, wait, prune. Pure data."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from corten.spec.docker.hostconfig import HostConfig, Int64
from corten.spec.docker.network import EndpointSettings, NetworkingConfig, PortMap

ZERO_TIME = "0001-01-01T00:00:00Z"
EMPTY_SET: dict[str, Any] = {}


class HealthConfig(msgspec.Struct, rename="pascal", kw_only=True, omit_defaults=True, frozen=True):
    """A health check; durations in nanoseconds, 0 is the default (or the image's)."""

    test: list[str] | None = None
    interval: Int64 = 0
    timeout: Int64 = 0
    retries: Int64 = 0
    start_period: Int64 = 0
    start_interval: Int64 = 0


class ContainerConfig(msgspec.Struct, rename="pascal", kw_only=True):
    """Config of create, inspect and commit: what is portable between hosts."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: Int64 | None = None
    shell: list[str] | str | None = None


# Left out of inspect when empty (`omitempty` of Docker's Go types).
CONFIG_OMIT_EMPTY = (
    "ExposedPorts",
    "Healthcheck",
    "ArgsEscaped",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "StopTimeout",
    "Shell",
)


class CreateRequest(ContainerConfig, rename="pascal", kw_only=True):
    """Body of POST /containers/create: Config at the top, HostConfig and NetworkingConfig beside it."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None

    def config(self) -> ContainerConfig:
        """The part that is Config."""
        return ContainerConfig(**{name: getattr(self, name) for name in ContainerConfig.__struct_fields__})


class CreateResponse(msgspec.Struct, rename="pascal", kw_only=True):
    """Reply of create. Warnings is never null: docker-py and compose iterate over it."""

    id: str
    warnings: list[str] = msgspec.field(default_factory=list)


class HealthcheckResult(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """One probe."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(msgspec.Struct, rename="pascal", kw_only=True):
    """State.Health of inspect."""

    status: str = "none"
    failing_streak: int = 0
    log: list[HealthcheckResult] = msgspec.field(default_factory=list)


class ContainerState(msgspec.Struct, kw_only=True):
    """State of inspect: Docker's overlapping booleans, computed from one status."""

    status: str = msgspec.field(name="Status")
    running: bool = msgspec.field(name="Running", default=False)
    paused: bool = msgspec.field(name="Paused", default=False)
    restarting: bool = msgspec.field(name="Restarting", default=False)
    oom_killed: bool = msgspec.field(name="OOMKilled", default=False)
    dead: bool = msgspec.field(name="Dead", default=False)
    pid: int = msgspec.field(name="Pid", default=0)
    exit_code: int = msgspec.field(name="ExitCode", default=0)
    error: str = msgspec.field(name="Error", default="")
    started_at: str = msgspec.field(name="StartedAt", default=ZERO_TIME)
    finished_at: str = msgspec.field(name="FinishedAt", default=ZERO_TIME)
    health: Health | UnsetType = msgspec.field(name="Health", default=UNSET)


class MountPoint(msgspec.Struct, rename="pascal", kw_only=True):
    """One mount as inspect and list show it. Name and Driver are left out when empty."""

    type: str
    name: str | UnsetType = UNSET
    source: str = ""
    destination: str = ""
    driver: str | UnsetType = UNSET
    mode: str = ""
    rw: bool = msgspec.field(name="RW", default=True)
    propagation: str = ""


class DriverData(msgspec.Struct, rename="pascal", kw_only=True):
    """GraphDriver of inspect."""

    data: dict[str, str] | None = None
    name: str = ""


class NetworkSettings(msgspec.Struct, kw_only=True):
    """NetworkSettings of inspect. The addresses at the top are those of the default bridge."""

    bridge: str = msgspec.field(name="Bridge", default="")
    sandbox_id: str = msgspec.field(name="SandboxID", default="")
    sandbox_key: str = msgspec.field(name="SandboxKey", default="")
    ports: PortMap = msgspec.field(name="Ports", default_factory=dict)
    hairpin_mode: bool = msgspec.field(name="HairpinMode", default=False)
    link_local_ipv6_address: str = msgspec.field(name="LinkLocalIPv6Address", default="")
    link_local_ipv6_prefix_len: int = msgspec.field(name="LinkLocalIPv6PrefixLen", default=0)
    secondary_ip_addresses: list[Any] | None = msgspec.field(name="SecondaryIPAddresses", default=None)
    secondary_ipv6_addresses: list[Any] | None = msgspec.field(name="SecondaryIPv6Addresses", default=None)
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    gateway: str = msgspec.field(name="Gateway", default="")
    global_ipv6_address: str = msgspec.field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int = msgspec.field(name="GlobalIPv6PrefixLen", default=0)
    ip_address: str = msgspec.field(name="IPAddress", default="")
    ip_prefix_len: int = msgspec.field(name="IPPrefixLen", default=0)
    ipv6_gateway: str = msgspec.field(name="IPv6Gateway", default="")
    mac_address: str = msgspec.field(name="MacAddress", default="")
    networks: dict[str, EndpointSettings] = msgspec.field(name="Networks", default_factory=dict)


class ContainerInspect(msgspec.Struct, rename="pascal", kw_only=True):
    """Reply of GET /containers/{id}/json."""

    id: str
    created: str
    path: str
    args: list[str]
    state: ContainerState
    image: str
    resolv_conf_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    log_path: str = ""
    name: str = ""
    restart_count: int = 0
    driver: str = ""
    platform: str = "linux"
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = msgspec.field(name="ExecIDs", default=None)
    host_config: dict[str, Any]
    graph_driver: DriverData
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    mounts: list[MountPoint]
    config: dict[str, Any]
    network_settings: NetworkSettings


class Port(msgspec.Struct, kw_only=True):
    """One port of a list row."""

    ip: str | UnsetType = msgspec.field(name="IP", default=UNSET)
    private_port: int = msgspec.field(name="PrivatePort")
    public_port: int | UnsetType = msgspec.field(name="PublicPort", default=UNSET)
    type: str = msgspec.field(name="Type")


class SummaryHostConfig(msgspec.Struct, rename="pascal", kw_only=True):
    """HostConfig of a list row."""

    network_mode: str
    annotations: dict[str, str] | UnsetType = UNSET


class SummaryNetworks(msgspec.Struct, rename="pascal", kw_only=True):
    """NetworkSettings of a list row."""

    networks: dict[str, EndpointSettings] = msgspec.field(default_factory=dict)


class ContainerSummary(msgspec.Struct, kw_only=True):
    """A row of GET /containers/json. Labels and Ports are never null."""

    id: str = msgspec.field(name="Id")
    names: list[str] = msgspec.field(name="Names")
    image: str = msgspec.field(name="Image")
    image_id: str = msgspec.field(name="ImageID")
    command: str = msgspec.field(name="Command")
    created: int = msgspec.field(name="Created")
    ports: list[Port] = msgspec.field(name="Ports", default_factory=list)
    size_rw: int | UnsetType = msgspec.field(name="SizeRw", default=UNSET)
    size_root_fs: int | UnsetType = msgspec.field(name="SizeRootFs", default=UNSET)
    labels: dict[str, str] = msgspec.field(name="Labels", default_factory=dict)
    state: str = msgspec.field(name="State")
    status: str = msgspec.field(name="Status")
    host_config: SummaryHostConfig = msgspec.field(name="HostConfig")
    network_settings: SummaryNetworks = msgspec.field(name="NetworkSettings")
    mounts: list[MountPoint] = msgspec.field(name="Mounts", default_factory=list)


class WaitError(msgspec.Struct, rename="pascal", kw_only=True):
    """Why a wait ended without an exit code."""

    message: str


class WaitResponse(msgspec.Struct, rename="pascal", kw_only=True):
    """Reply of wait."""

    status_code: int
    error: WaitError | UnsetType = UNSET


class ContainerPruneResponse(msgspec.Struct, rename="pascal", kw_only=True):
    """Reply of POST /containers/prune."""

    containers_deleted: list[str] | None = None
    space_reclaimed: int = 0


class UpdateResponse(msgspec.Struct, rename="pascal", kw_only=True):
    """Reply of update."""

    warnings: list[str] | None = None
