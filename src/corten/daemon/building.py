"""Puts the build service together; imported at the first build. Daemon only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from corten.build.bases import Puller
from corten.build.builder import Builder
from corten.build.builds import Builds
from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.classic import ClassicBuilds
from corten.build.entitlements import DeviceInfo, Powers
from corten.build.outputs import Outputs
from corten.build.service import BuildService
from corten.daemon.builder_settings import entitlements
from corten.daemon.config import Config
from corten.engine.containers.cdi import CdiDirectories, Known, mount_records
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.spool import Spool
from corten.spec.cdi import flag

if TYPE_CHECKING:
    from corten.build.ops.download import Web
    from corten.build.ops.run import Containers
    from corten.build.ops.store import Snapshots
    from corten.engine.images.assemble import Assembler

_CACHE_SHARE = 10  # a tenth of the file system, as BuildKit keeps by default
_CACHE_LEAST = 2_000_000_000


def build_service(
    *,
    data_root: Path,
    spool_dir: Path,
    mounts: Path,
    containers: Containers,
    snapshots: Snapshots,
    library: ImageLibrary,
    assembler: Callable[[], Assembler],
    puller: Puller,
    web: Callable[[], Web],
    cache: BuildCache,
    events: Events,
    powers: Powers,
    cache_bytes: int | None = None,
) -> Builds:
    """Builds over each API. `cache_bytes` is how much the cache may have; None leaves it to the disk's size."""
    caches = CacheMounts(data_root / "build-mounts")
    builder = Builder(
        containers=containers,
        snapshots=snapshots,
        assembler=assembler,
        cache=cache,
        caches=caches,
        scratch=spool_dir,
        mounts=mounts,
        web=web,
    )
    upkeep = CacheUpkeep(
        cache=cache,
        caches=caches,
        library=library,
        events=events,
        limit_bytes=lambda: cache_limit(data_root) if cache_bytes is None else cache_bytes,
    )
    service = BuildService(builder=builder, cache=cache, upkeep=upkeep, library=library, puller=puller, powers=powers)
    outputs = Outputs(library=library, assembler=assembler, snapshots=snapshots)
    return Builds(
        classic=ClassicBuilds(service=service, outputs=outputs, spool=Spool(spool_dir), events=events), cache=upkeep
    )


def powers(config: Config) -> Powers:
    """What steps may be allowed, by the configuration. Raises ConfigError."""
    directories = CdiDirectories(config.items("cdi-spec-dirs"))

    def devices() -> dict[str, DeviceInfo]:
        return {name: _device(device) for name, device in directories.known().items()}

    return Powers(supported=entitlements(config["builder"]), devices=devices)


def _device(known: Known) -> DeviceInfo:
    """A device as builds know it (BuildKit's annotations)."""
    notes = known.annotations
    edits = known.specification.container_edits.joined(known.device.container_edits)
    return DeviceInfo(
        is_free=flag(notes, "org.mobyproject.buildkit.device.autoallow"),
        label=str(notes.get("org.mobyproject.buildkit.device.class", "")),
        targets=tuple(mount.destination for mount in mount_records(edits)),
    )


def cache_limit(data_root: Path) -> int:
    """How many bytes the build cache may have: a tenth of the disk, but not less than 2 GB."""
    disk = os.statvfs(data_root)
    return max(disk.f_blocks * disk.f_frsize // _CACHE_SHARE, _CACHE_LEAST)
