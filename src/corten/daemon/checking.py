"""Puts `fsck` together from the engine's parts. Daemon only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from corten.engine.containers.registry import Registry
from corten.engine.fsck.refetch import Refetcher
from corten.engine.fsck.repair import Repair
from corten.engine.fsck.service import FsckService
from corten.engine.fsck.stored import StoredCheck
from corten.engine.fsck.surroundings import Surroundings
from corten.engine.images.library import ImageLibrary
from corten.engine.images.service import ImageService
from corten.engine.volumes import VolumeService
from corten.linux.tree import remove_tree
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.store.snapshots.driver import SnapshotDriver


def fsck_service(
    *,
    data_root: Path,
    database: Database,
    content: ContentStore,
    snapshots: SnapshotDriver,
    library: ImageLibrary,
    images: ImageService,
    containers: Registry,
    volumes: VolumeService,
    client: Callable[[], RegistryClient],
) -> FsckService:
    """The service; `client` gives the registry client, which only a repair needs."""
    stored = StoredCheck(library=library, blobs=content, layers=snapshots, records=database.table("images"))

    def running() -> set[str]:
        """The layers that running containers stand on."""
        parents = {chain_id: layer.parent for chain_id, layer in snapshots.layers().items()}
        below: set[str] = set()
        for container in containers:
            chain_id = container.record.chain_id if container.record.status.status.has_process else ""
            while chain_id and chain_id not in below:
                below.add(chain_id)
                chain_id = parents.get(chain_id, "")
        return below

    def make_repair(credentials: Mapping[str, Credentials]) -> Repair:
        return Repair(
            library=library,
            images=images,
            layers=snapshots,
            check=stored,
            refetcher=Refetcher(content=library, client=client()),
            running=running,
            delete_file=_delete,
            credentials=credentials,
        )

    surroundings = Surroundings(
        data_root=data_root,
        check_database=database.check,
        container_rows=database.table("containers").list,
        containers=lambda: [container.id for container in containers],
        volumes=volumes.local_paths,
        snapshots=snapshots,
        content=content,
    )
    return FsckService(stored=stored, surroundings=surroundings, make_repair=make_repair)


def _delete(path: str) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        remove_tree(os.path.basename(path), dir_fd=directory)
    finally:
        os.close(directory)
