"""Puts the build service together; imported at the first build. Daemon only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from corten.build.attestor import Attestor
from corten.build.builder import Builder
from corten.build.builds import Builds
from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.caching.exporting import CacheExporter
from corten.build.caching.travel import CacheTravel
from corten.build.classic import ClassicBuilds
from corten.build.entitlements import DeviceInfo, Powers
from corten.build.exporters.export import Exporters
from corten.build.exporters.layers import LayerForms
from corten.build.fetched_files import FetchedFiles
from corten.build.fetching import Fetching
from corten.build.finisher import Finisher
from corten.build.local.builds import LocalBuilds
from corten.build.service import BuildService
from corten.build.session.contexts import KeptContexts
from corten.build.squash import Squasher
from corten.build.trees.hashes import HashMemory
from corten.daemon.builder_settings import entitlements
from corten.daemon.config import Config
from corten.daemon.late import Late
from corten.daemon.source_settings import source_settings
from corten.engine.containers.cdi import CdiDirectories, Known, mount_records
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.spool import Spool
from corten.spec.cdi import flag

if TYPE_CHECKING:
    from corten.build.buildkit.service import BuildKit
    from corten.build.ops.run import Containers
    from corten.build.ops.store import Snapshots
    from corten.engine.images.assemble import Assembler
    from corten.engine.images.transfer import TransferService
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
    puller: TransferService,
    config: Config,
    table: Callable[[str], RecordTable],
    cache: BuildCache,
    events: Events,
    host_gateways: Callable[[], Sequence[str]],
    cache_bytes: int | None = None,
) -> Builds:
    """Builds over each API. `cache_bytes` is how much the cache may have; None leaves it to the disk's size."""

    def limit_bytes() -> int:
        return cache_limit(data_root) if cache_bytes is None else cache_bytes

    caches = CacheMounts(data_root / "build-mounts")
    hashes = HashMemory(data_root / "build-hashes")
    contexts = KeptContexts(data_root / "build-contexts")
    sources = source_settings(config)
    fetching = Fetching(
        transport=sources.transport,
        policy=sources.policy,
        timings=sources.timings,
        kept=FetchedFiles(data_root / "build-sources", lambda: limit_bytes() // _FETCHED_SHARE),
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
        hashes=hashes,
        library=library,
        events=events,
        limit_bytes=limit_bytes,
        contexts=contexts,
    )
    exporters = Exporters(library=library, assembler=assembler(), snapshots=snapshots, publisher=puller)
    service = BuildService(
        builder=builder,
        cache=cache,
        upkeep=upkeep,
        library=library,
        puller=puller,
        travel=CacheTravel(
            exporter=CacheExporter(
                library=library, forms=LayerForms(library), registries=lambda: puller.artifacts, caches=caches
            ),
            registries=lambda: puller.artifacts,
            library=library,
        ),
        powers=powers(config),
    )
    finisher = Finisher(
        squasher=Squasher(library=library, assembler=assembler, snapshots=snapshots, now_ns=time.time_ns),
        attestor=Attestor(catalog=library.catalog, snapshots=snapshots),
    )
    spool = Spool(spool_dir)

    def buildkit() -> BuildKit:
        from corten.daemon.buildkit import buildkit_service

        return buildkit_service(
            service=service,
            exporters=exporters,
            finisher=finisher,
            contexts=contexts,
            fetching=fetching,
            spool=spool,
            upkeep=upkeep,
            library=library,
            snapshots=snapshots,
            history_dir=data_root / "build-history",
            events=events,
            identity=f"{data_root}:{os.stat(data_root).st_ino}",
            gateway_ip=next(iter(host_gateways()), ""),
            limit_bytes=limit_bytes(),
        )

    classic = ClassicBuilds(
        service=service, finisher=finisher, exporters=exporters, spool=spool, fetching=fetching, events=events
    )
    return Builds(
        classic=classic,
        local=LocalBuilds(classic=classic, memory=hashes),
        buildkit=cast("BuildKit", Late(buildkit)),
        cache=upkeep,
        exporters=exporters,
        finisher=finisher,
        contexts=contexts,
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
