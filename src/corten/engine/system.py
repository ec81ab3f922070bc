"""What the engine says of itself: version, info, disk usage. Daemon only.

Numbers of other resources come through small Protocols that wire.py fills; settings that a reload may change are read
at each call.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import UNSET

from corten import __version__
from corten.engine import host
from corten.engine.events import Events
from corten.lib.timestamps import rfc3339_nano
from corten.spec.docker import system as wire


@dataclass(slots=True, kw_only=True)
class SystemSettings:
    """The part of the daemon's configuration that clients see; a reload replaces fields."""

    id: str
    name: str
    engine_version: str
    api_version: str
    min_api_version: str
    data_root: str
    init_path: str
    storage_driver: str = ""
    storage_status: Sequence[tuple[str, str]] = ()
    network_drivers: Callable[[], list[str]] = list
    log_driver: str = "json-file"
    cgroup_driver: str = "cgroupfs"
    default_runtime: str = "corten"
    debug: bool = False
    experimental: bool = False
    live_restore: bool = True
    labels: list[str] = field(default_factory=list)
    mirrors: list[str] = field(default_factory=list)
    insecure_registries: list[str] = field(default_factory=list)
    runtimes: dict[str, str] = field(default_factory=dict)
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    address_pools: list[tuple[str, int]] = field(default_factory=list)
    no_new_privileges: bool = False
    cdi_directories: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class ContainerCounts(Protocol):
    """The containers, as `info` counts them."""

    def counts(self) -> tuple[int, int, int]:
        """(running, paused, stopped)."""


class ImageCounts(Protocol):
    """The images, as `info` counts them."""

    def count(self) -> int:
        """How many there are."""


class UsageSource(Protocol):
    """What GET /system/df shows; each list in the form of its resource's own list, with sizes."""

    async def containers(self) -> list[Any]:
        """All containers."""

    async def images(self) -> tuple[int, list[Any]]:
        """(size of all layers, all images)."""

    async def volumes(self) -> list[Any]:
        """All volumes."""

    async def build_cache(self) -> list[Any]:
        """The records of the build cache."""

    async def all_bytes(self) -> list[wire.DiskUse]:
        """Everything on disk, by what it is for."""


class SystemService:
    """The engine as a whole."""

    def __init__(
        self,
        *,
        settings: SystemSettings,
        events: Events,
        containers: ContainerCounts,
        images: ImageCounts,
        usage: UsageSource,
    ) -> None:
        self.settings = settings
        self._events = events
        self._containers = containers
        self._images = images
        self._usage = usage

    def version(self) -> wire.Version:
        """What answers here."""
        settings = self.settings
        kernel = os.uname().release
        python = ".".join(str(part) for part in sys.version_info[:3])
        details = {
            "ApiVersion": settings.api_version,
            "Arch": host.goarch(),
            "Experimental": str(settings.experimental).lower(),
            "GitCommit": __version__,
            "GoVersion": f"python{python}",
            "KernelVersion": kernel,
            "MinAPIVersion": settings.min_api_version,
            "Os": "linux",
        }
        return wire.Version(
            platform=wire.Platform(name="Corten Engine"),
            components=[
                wire.Component(name="Engine", version=settings.engine_version, details=details),
                wire.Component(name="corten", version=__version__, details={"GitCommit": __version__}),
            ],
            version=settings.engine_version,
            api_version=settings.api_version,
            min_api_version=settings.min_api_version,
            git_commit=__version__,
            go_version=f"python{python}",
            os="linux",
            arch=host.goarch(),
            kernel_version=kernel,
        )

    async def info(self) -> wire.Info:
        """The engine and its host."""
        settings = self.settings
        limits = host.controllers()
        running, paused, stopped = self._containers.counts()
        system, system_version = host.operating_system()
        return wire.Info(
            id=settings.id,
            containers=running + paused + stopped,
            containers_running=running,
            containers_paused=paused,
            containers_stopped=stopped,
            images=self._images.count(),
            driver=settings.storage_driver,
            driver_status=[("Backing Filesystem", filesystem_of(settings.data_root)), *settings.storage_status],
            plugins=wire.Plugins(
                volume=["local"], network=settings.network_drivers(), log=["json-file", "local", "none"]
            ),
            memory_limit=limits.memory,
            swap_limit=limits.swap,
            cpu_cfs_period=limits.cpu,
            cpu_cfs_quota=limits.cpu,
            cpu_shares=limits.cpu,
            cpu_set=limits.cpu_set,
            pids_limit=limits.pids,
            oom_kill_disable=limits.oom_kill_disable,
            ipv4_forwarding=host.ipv4_forwarding(),
            debug=settings.debug,
            n_fd=host.open_descriptors(),
            n_goroutines=1,
            system_time=rfc3339_nano(time.time_ns()),
            logging_driver=settings.log_driver,
            cgroup_driver=settings.cgroup_driver,
            cgroup_version=limits.version,
            n_events_listener=self._events.subscribers,
            kernel_version=os.uname().release,
            operating_system=system,
            os_version=system_version,
            os_type="linux",
            architecture=os.uname().machine,
            registry_config=registry_config(settings),
            ncpu=host.processors(),
            mem_total=host.memory_total(),
            docker_root_dir=settings.data_root,
            http_proxy=settings.http_proxy,
            https_proxy=settings.https_proxy,
            no_proxy=settings.no_proxy,
            name=settings.name,
            labels=list(settings.labels),
            experimental_build=settings.experimental,
            server_version=settings.engine_version,
            runtimes={name: wire.Runtime(path=path) for name, path in settings.runtimes.items()},
            default_runtime=settings.default_runtime,
            cdi_spec_dirs=list(settings.cdi_directories),
            swarm=wire.SwarmInfo(),
            live_restore_enabled=settings.live_restore,
            init_binary=settings.init_path,
            containerd_commit=wire.Commit(id=__version__),
            runc_commit=wire.Commit(id=__version__),
            init_commit=wire.Commit(id=__version__),
            security_options=security_options(settings, limits.version),
            default_address_pools=[wire.AddressPool(base=base, size=size) for base, size in settings.address_pools]
            or UNSET,
            warnings=[*limit_warnings(limits), *settings.warnings],
        )

    async def disk_usage(self, types: Collection[str]) -> wire.DiskUsage:
        """What takes space; only the kinds in `types` are looked at."""
        usage = wire.DiskUsage()
        if "image" in types:
            usage.layers_size, usage.images = await self._usage.images()
        if "container" in types:
            usage.containers = await self._usage.containers()
        if "volume" in types:
            usage.volumes = await self._usage.volumes()
        if "build-cache" in types:
            usage.build_cache = await self._usage.build_cache()
        if "all-bytes" in types:
            usage.corten = await self._usage.all_bytes()
        return usage


def security_options(settings: SystemSettings, cgroup_version: str) -> list[str]:
    """What guards containers, in the form of `docker info`."""
    options = ["name=seccomp,profile=builtin"]
    if cgroup_version == "2":
        options.append("name=cgroupns")
    if settings.no_new_privileges:
        options.append("name=no-new-privileges")
    return options


def limit_warnings(limits: host.Controllers) -> list[str]:
    """A line for each kind of limit that this kernel cannot enforce, as Docker words them."""
    missing = (
        (limits.memory, "WARNING: No memory limit support"),
        (limits.swap, "WARNING: No swap limit support"),
        (limits.cpu, "WARNING: No cpu cfs quota support"),
        (limits.cpu, "WARNING: No cpu shares support"),
        (limits.cpu_set, "WARNING: No cpuset support"),
        (limits.pids, "WARNING: No pids limit support"),
    )
    return [text for present, text in missing if not present]


def registry_config(settings: SystemSettings) -> wire.RegistryConfig:
    """How registries are spoken to: 127.0.0.0/8 is always allowed without TLS, as in Docker."""
    cidrs = ["::1/128", "127.0.0.0/8"]
    index = {
        "docker.io": wire.IndexInfo(name="docker.io", mirrors=list(settings.mirrors), secure=True, official=True),
    }
    for registry in settings.insecure_registries:
        if "/" in registry:
            cidrs.append(registry)
        else:
            index[registry] = wire.IndexInfo(name=registry, mirrors=[], secure=False, official=False)
    return wire.RegistryConfig(insecure_cidrs=cidrs, index_configs=index, mirrors=list(settings.mirrors))


def filesystem_of(path: str) -> str:
    """The type of the file system that holds `path`, by the longest mount point above it (proc_pid_mountinfo(5))."""
    best, kind = "", "unknown"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                left, _, right = line.partition(" - ")
                point = left.split(" ")[4]
                if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                    best, kind = point, right.split(" ")[0]
    except (OSError, IndexError):
        return "unknown"
    return "extfs" if kind in {"ext2", "ext3", "ext4"} else kind
