"""Every byte of the data root, by what it is for: what `corten system df -v` shows besides Docker's tables.

Counted as du(1) does: blocks on disk, files that several names share once, other file systems not. The sum of the rows
is what `du -s` says of the data root, but for what is written meanwhile. Daemon; blocking: it walks all layers' files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from corten.linux.tree import allocated
from corten.spec.docker.system import DiskUse

_LISTED = ("containers", "volumes", "tmp", "build-mounts", "build-contexts", "build-history")
_DATABASE = ("meta.db", "meta.db-wal", "meta.db-shm")


class LayerUsage(Protocol):
    """The snapshot driver's share."""

    def disk_usage(self) -> Mapping[str, int]:
        """Allocated bytes of `layers`, `snapshots` and `trash`."""

    def layers(self) -> Mapping[str, object]:
        """All layers."""

    def snapshots(self) -> Mapping[str, str]:
        """All snapshots."""


class BlobUsage(Protocol):
    """The content store's share."""

    def digests(self) -> Iterable[str]:
        """All blobs."""

    def path(self, digest: str) -> Path:
        """Where a blob is."""


def explain(root: Path, *, blobs: BlobUsage, unneeded: Iterable[str], layers: LayerUsage) -> list[DiskUse]:
    """A row for each kind of content below `root`; `unneeded` are the blobs that no image needs."""
    waiting = set(unneeded)
    digests = list(blobs.digests())
    sizes = {digest: allocated(os.fspath(blobs.path(digest))) for digest in digests}
    kept = {digest: size for digest, size in sizes.items() if digest not in waiting}
    broken = {digest: size for digest, size in sizes.items() if digest in waiting}
    ingests = _entries(root / "content" / "ingest")
    usage = layers.disk_usage()
    containers, volumes, uploads, mounts, contexts, history = (_entries(root / name) for name in _LISTED)
    database = {name: allocated(os.fspath(root / name)) for name in _DATABASE}
    rows = [
        _row("Image blobs", kept),
        DiskUse(type="Image layers", count=len(layers.layers()), size=usage["layers"], reclaimable=0),
        DiskUse(type="Container layers", count=len(layers.snapshots()), size=usage["snapshots"], reclaimable=0),
        _row("Container logs and files", containers),
        _row("Volumes", volumes),
        _row("Build cache mounts", mounts, reclaimable=True),
        _row("Files that builds were sent", contexts, reclaimable=True),
        _row("Records of builds", history, reclaimable=True),
        _row("Broken pulls, kept to go on", {**ingests, **broken}, reclaimable=True),
        DiskUse(type="Deleted, not yet freed", count=0, size=usage["trash"], reclaimable=usage["trash"]),
        _row("Archives being read", uploads),
        _row("Database", database),
    ]
    return [*rows, _row("Directories and other files", _rest(root))]


def _row(kind: str, sizes: Mapping[str, int], *, reclaimable: bool = False) -> DiskUse:
    size = sum(sizes.values())
    return DiskUse(type=kind, count=len(sizes), size=size, reclaimable=size if reclaimable else 0)


def _entries(directory: Path) -> dict[str, int]:
    """What is in a directory, by name."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return {}
    return {name: allocated(os.fspath(directory / name)) for name in names}


def _rest(root: Path) -> dict[str, int]:
    """What no other row counts: the directories that hold the rest, and files at the top."""
    content = root / "content"
    plain = [root, *(root / name for name in (*_LISTED, "snapshots", "content"))]
    plain += [content / "ingest", content / "blobs", content / "blobs" / "sha256"]
    found = {os.fspath(path): os.lstat(path).st_blocks * 512 for path in plain if path.exists()}
    known = {"content", "snapshots", *_LISTED, *_DATABASE}
    for name in set(os.listdir(root)) - known:
        found[name] = allocated(os.fspath(root / name))
    return found
