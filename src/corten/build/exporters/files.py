"""The exporters `local` and `tar`: the files of the result, a directory for each platform when there are several.

Attestations are files beside them. Daemon's loop; what is sent is packed in threads.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from corten.build.attestations.statement import Subject, statement
from corten.build.exporters.joined import JoinedTree
from corten.build.exporters.request import FilesExport
from corten.build.exporters.result import Exportable, Part, PlatformImage, Receiver
from corten.build.ops.store import Snapshots
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import EmptyTree, Tree
from corten.lib import pipe
from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter
from corten.spec.digest import hex_of
from corten.store.pack import Packer

_NANO = 1_000_000_000


class FilesExporter:
    """One a daemon."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def export(
        self, exportable: Exportable, export: FilesExport, number: int, receiver: Receiver
    ) -> dict[str, str]:
        """Send them. Raises OSError."""
        epoch_s = export.epoch_s if export.epoch_s is not None else exportable.epoch_s
        newest_ns = None if epoch_s is None else epoch_s * _NANO
        await receiver.files(number, export, PackedFiles(self._snapshots, parts(exportable.images, export), newest_ns))
        return {}


def parts(images: Sequence[PlatformImage], export: FilesExport) -> list[Part]:
    """What goes where. Pure."""
    split = len(images) > 1 if export.split is None else export.split
    return [
        Part(
            directory=image.platform.replace("/", "_") if split else "",
            filesystem=image.built.filesystem,
            files=tuple(_statements(image, export.prefix)),
        )
        for image in images
    ]


def _statements(image: PlatformImage, prefix: str) -> Iterable[tuple[str, bytes]]:
    chain_id = image.built.filesystem.chain_id
    subjects = [Subject(name="_", sha256=hex_of(chain_id))] if chain_id else []
    for predicate in image.predicates:
        yield prefix + predicate.filename, statement(predicate, subjects)


class PackedFiles:
    """An output of files (`result.Files`); no time in it is later than `newest_ns`."""

    def __init__(self, snapshots: Snapshots, parts: Sequence[Part], newest_ns: int | None) -> None:
        self._snapshots = snapshots
        self._parts = parts
        self._newest_ns = newest_ns

    def tar(self) -> AsyncIterator[bytes]:
        """As `docker export` gives a container's files."""
        return pipe.produced(self._pack)

    @contextmanager
    def tree(self) -> Iterator[Tree]:
        """For clients that take files one by one. Blocking."""
        with ExitStack() as closing:
            pairs: list[tuple[Part, Tree]] = []
            for part in self._parts:
                root = self._root_fd(part)
                mounted = MountedTree(root) if root >= 0 else None
                if mounted is not None:
                    closing.callback(mounted.close)
                pairs.append((part, mounted or EmptyTree()))
            yield JoinedTree(pairs, self._newest_ns)

    def _root_fd(self, part: Part) -> int:
        """A detached, read-only mount of a part's file system; -1 for an empty one."""
        return self._snapshots.image_fd(part.filesystem.chain_id) if part.filesystem.layers else -1

    def _pack(self, file: BinaryIO) -> None:
        writer = TarWriter(file.write)
        for part in self._parts:
            name = os.fsencode(part.directory)
            prefix = name + b"/" if name else b""
            if prefix:
                writer.add(Entry(prefix, "directory", 0o755, 0, 0, 0, self._newest_ns or 0))
            root = self._root_fd(part)
            if root >= 0:
                try:
                    Packer(writer, newest_ns=self._newest_ns).tree(root, prefix)
                finally:
                    os.close(root)
            for filename, data in part.files:
                path = prefix + os.fsencode(filename)
                writer.add(Entry(path, "file", 0o644, 0, 0, len(data), self._newest_ns or 0), [data])
        writer.finish()
