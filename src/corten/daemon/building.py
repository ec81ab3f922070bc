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
from corten.build.fetching import Fetching
from corten.build.kept import KeptFiles
from corten.build.outputs import Outputs
from corten.build.service import BuildService
from corten.daemon.source_settings import source_settings
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.spool import Spool

if TYPE_CHECKING:
    from corten.build.ops.run import Containers
    from corten.build.ops.store import Snapshots
    from corten.daemon.config import Config
    from corten.engine.images.assemble import Assembler
    from corten.store.db import RecordTable

_CACHE_SHARE = 10  # a tenth of the file system, as BuildKit keeps by default
_CACHE_LEAST = 2_000_000_000
_FETCHED_SHARE = 4  # of what the cache may have, besides


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
    config: Config,
    table: Callable[[str], RecordTable],
    cache: BuildCache,
    events: Events,
    cache_bytes: int | None = None,
) -> Builds:
    """Builds over each API. `cache_bytes` is how much the cache may have; None leaves it to the disk's size."""
    caches = CacheMounts(data_root / "build-mounts")

    def limit_bytes() -> int:
        return cache_limit(data_root) if cache_bytes is None else cache_bytes

    sources = source_settings(config)
    fetching = Fetching(
        transport=sources.transport,
        policy=sources.policy,
        timings=sources.timings,
        kept=KeptFiles(data_root / "build-sources", lambda: limit_bytes() // _FETCHED_SHARE),
        seen=table("build-fetched"),
    )
    builder = Builder(
        containers=containers,
        snapshots=snapshots,
        assembler=assembler,
        cache=cache,
        caches=caches,
        scratch=spool_dir,
        mounts=mounts,
        fetching=fetching,
    )
    upkeep = CacheUpkeep(
        cache=cache,
        caches=caches,
        fetching=fetching,
        library=library,
        events=events,
        limit_bytes=limit_bytes,
    )
    service = BuildService(builder=builder, cache=cache, upkeep=upkeep, library=library, puller=puller)
    outputs = Outputs(library=library, assembler=assembler, snapshots=snapshots)
    return Builds(
        classic=ClassicBuilds(
            service=service, outputs=outputs, spool=Spool(spool_dir), fetching=fetching, events=events
        ),
        cache=upkeep,
    )


def cache_limit(data_root: Path) -> int:
    """How many bytes the build cache may have: a tenth of the disk, but not less than 2 GB."""
    disk = os.statvfs(data_root)
    return max(disk.f_blocks * disk.f_frsize // _CACHE_SHARE, _CACHE_LEAST)
