"""The services that handlers may call: one record of typed collaborators, filled by daemon/wire.py. Daemon only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corten.build.builds import Builds
    from corten.engine.containers.archive import ArchiveService
    from corten.engine.containers.attach import AttachService
    from corten.engine.containers.changes import ChangesService
    from corten.engine.containers.commit import CommitService
    from corten.engine.containers.exec import ExecService
    from corten.engine.containers.export import ExportService
    from corten.engine.containers.logs import LogService
    from corten.engine.containers.service import ContainerService
    from corten.engine.containers.stats import StatsService
    from corten.engine.events import Events
    from corten.engine.fsck.service import FsckService
    from corten.engine.images.insight import ImageInsight
    from corten.engine.images.listing import ImageListing
    from corten.engine.images.mounting import ImageMounts
    from corten.engine.images.service import ImageService
    from corten.engine.images.transfer import TransferService
    from corten.engine.networks.service import NetworkService
    from corten.engine.system import SystemService
    from corten.engine.volumes import VolumeService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One field a resource. A handler uses the one it is about."""

    containers: (
        ContainerService  # create, start, stop, kill, restart, pause, rename, update, wait, list, inspect, remove
    )
    attach: AttachService
    execs: ExecService
    changes: ChangesService
    archive: ArchiveService  # cp
    exports: ExportService
    commits: CommitService
    logs: LogService
    stats: StatsService  # stats, top
    builds: Builds  # build, its cache
    images: ImageService  # tag, remove, prune
    listing: ImageListing  # list, inspect, history
    transfer: TransferService  # pull, push, load, save, import, distribution
    insight: ImageInsight  # image trees and differences
    mounts: ImageMounts
    networks: NetworkService
    volumes: VolumeService
    system: SystemService  # info, version, df, auth
    fsck: FsckService
    events: Events
