"""What the daemon's configuration says of containers. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from corten.spec.docker.hostconfig import LogConfig, Ulimit


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """dockerd's options of the same names, and the roots."""

    data_root: Path
    exec_root: Path
    log_config: LogConfig = field(default_factory=lambda: LogConfig(type="json-file"))
    default_ulimits: tuple[Ulimit, ...] = ()
    default_pids_limit: int = 32768
    default_shm_bytes: int = 64 << 20
    default_init: bool = False
    no_new_privileges: bool = False
    seccomp_profile: str = ""  # a profile's text, "unconfined", or "" for the built-in one
    default_cgroupns: str = "private"
    default_ipc: str = "private"
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    cgroup_parent: str = ""
    runtimes: tuple[str, ...] = ("runc", "corten", "io.containerd.runc.v2")
    default_runtime: str = "runc"
    storage_driver: str = ""
    cdi_directories: tuple[str, ...] = ()
    shutdown_timeout_s: int = 15
    cpus: int = field(default_factory=lambda: os.cpu_count() or 1)

    def directory(self, cid: str) -> Path:
        """A container's directory below the data root."""
        return self.data_root / "containers" / cid
