"""HostConfig: what of a container depends on this host, as the Docker API spells it. Pure data.

Absent, null and zero mean the same in Docker's Go types; where they do not (MaskedPaths null against [], Init null
against false), the field's type has None.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from corten.spec.docker.network import PortMap

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class RestartPolicy(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """When a container is started again. Name: "", no, always, unless-stopped, on-failure."""

    name: str = ""
    maximum_retry_count: Int64 = 0


class LogConfig(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """The logging driver of a container and its options."""

    type: str = ""
    config: dict[str, str] | None = None


class Ulimit(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """One resource limit of processes (setrlimit(2)); -1 is no limit."""

    name: str = ""
    hard: Int64 = 0
    soft: Int64 = 0


class DeviceMapping(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A device of the host in the container."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A wish for devices of a driver (`--gpus`)."""

    driver: str = ""
    count: Int64 = 0
    device_ids: list[str] | None = msgspec.field(name="DeviceIDs", default=None)
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class WeightDevice(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """The block I/O weight of one device."""

    path: str = ""
    weight: Int64 = 0


class ThrottleDevice(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A block I/O limit of one device."""

    path: str = ""
    rate: Annotated[int, Meta(ge=0)] = 0


class DriverConfig(msgspec.Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """A volume driver and its options."""

    name: str = ""
    options: dict[str, str] | None = None


class BindOptions(msgspec.Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """Options of a mount of type bind."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeOptions(msgspec.Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """Options of a mount of type volume."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class TmpfsOptions(msgspec.Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """Options of a mount of type tmpfs."""

    size_bytes: Int64 = 0
    mode: Int64 = 0
    options: list[list[str]] | None = None


class ImageOptions(msgspec.Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """Options of a mount of type image."""

    subpath: str = ""


class Mount(msgspec.Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """One entry of HostConfig.Mounts (`--mount`)."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    cluster_options: dict[str, Any] | None = None


class Resources(msgspec.Struct, rename="pascal", kw_only=True):
    """Limits: the part of HostConfig that `update` can change."""

    cpu_shares: Int64 = 0
    memory: Int64 = 0
    nano_cpus: Int64 = 0
    cgroup_parent: str = ""
    blkio_weight: Int64 = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = msgspec.field(name="BlkioDeviceReadIOps", default=None)
    blkio_device_write_iops: list[ThrottleDevice] | None = msgspec.field(name="BlkioDeviceWriteIOps", default=None)
    cpu_period: Int64 = 0
    cpu_quota: Int64 = 0
    cpu_realtime_period: Int64 = 0
    cpu_realtime_runtime: Int64 = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    memory_reservation: Int64 = 0
    memory_swap: Int64 = 0
    memory_swappiness: Int64 | None = None
    oom_kill_disable: bool | None = None
    pids_limit: Int64 | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: Int64 = 0
    cpu_percent: Int64 = 0
    io_maximum_iops: Int64 = msgspec.field(name="IOMaximumIOps", default=0)
    io_maximum_bandwidth: Int64 = msgspec.field(name="IOMaximumBandwidth", default=0)


class HostConfig(Resources, rename="pascal", kw_only=True):
    """HostConfig of create and inspect."""

    binds: list[str] | None = None
    container_id_file: str = msgspec.field(name="ContainerIDFile", default="")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: PortMap | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[Int64] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | str | None = None
    cap_drop: list[str] | str | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: Int64 = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = msgspec.field(name="UTSMode", default="")
    userns_mode: str = ""
    shm_size: Int64 = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] | None = None
    init: bool | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    egress: list[str] | msgspec.UnsetType | None = msgspec.UNSET  # beyond Docker; absent: unlimited

    @property
    def cap_add_list(self) -> list[str]:
        """CapAdd, which may come as one string (Go's StrSlice)."""
        return str_slice(self.cap_add) or []

    @property
    def cap_drop_list(self) -> list[str]:
        """CapDrop, which may come as one string."""
        return str_slice(self.cap_drop) or []


class UpdateRequest(Resources, rename="pascal", kw_only=True):
    """Body of POST /containers/{id}/update."""

    restart_policy: RestartPolicy = RestartPolicy()


def str_slice(value: list[str] | str | None) -> list[str] | None:
    """Go's StrSlice: a list, or one string that stands for a list of it."""
    return [value] if isinstance(value, str) else value


# Left out of inspect when empty (`omitempty` of Docker's Go types).
OMIT_EMPTY = ("Mounts", "Tmpfs", "Sysctls", "Init", "StorageOpt", "Annotations", "Runtime")
