"""`--squash`: all that a build has put upon its base becomes one layer. Daemon's loop; disk threads.

What the layers touch is looked at as it is in the end, and as it is in the base: what is there goes into the layer,
what is in the base alone is deleted by it. Directories that a layer has emptied or replaced are compared with the
base's, too. The history is Docker's: the steps stay, without layers, and one more says what was merged. Source:
moby's daemon/images/squash (its result, and the words in the history).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import msgspec

from corten.build.export import time_text
from corten.build.filesystem import FileSystem, Layer
from corten.build.ops.store import Snapshots
from corten.build.outputs import Built
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import EmptyTree, Tree, join, walk
from corten.engine.images.assemble import Assembler
from corten.engine.images.decompress import TarStream
from corten.engine.images.flatten import clean
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.lib import blocking
from corten.lib.tar import Entry, TarReader
from corten.lib.tar_writer import TarWriter
from corten.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from corten.spec.oci_image import History, RootFS
from corten.store.leases import Lease
from corten.store.pack import Packer, PipedTar

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS


class Squasher:
    """One a daemon."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        assembler: Callable[[], Assembler],
        snapshots: Snapshots,
        now_ns: Callable[[], int],
    ) -> None:
        self._library = library
        self._assembler = assembler
        self._snapshots = snapshots
        self._now_ns = now_ns

    async def squash(self, built: Built, base_id: str, epoch_s: int | None, lease: Lease, progress: Progress) -> Built:
        """The image with one layer for all that a build made; `base_id` is that of the image below, if any."""
        layers = built.filesystem.layers
        below = next((number for number, layer in enumerate(layers) if layer.created), len(layers))
        created = time_text(self._now_ns() if epoch_s is None else epoch_s * 1_000_000_000)
        merged = FileSystem(layers=layers[:below])
        if below < len(layers):
            merged = await self._merged(merged, built.filesystem, created, lease, progress)
        known = sum(not entry.empty_layer for entry in built.image.history or [])
        return replace(
            built,
            image=msgspec.structs.replace(
                built.image,
                created=created,
                rootfs=RootFS(diff_ids=[layer.diff_id for layer in merged.layers]),
                history=_history(
                    built.image.history or [],
                    below if known else 0,
                    History(
                        created=created,
                        comment=f"merge {built.id} to {base_id}" if base_id else f"create new from {built.id}",
                        empty_layer=below == len(layers),
                    ),
                ),
            ),
            filesystem=merged,
        )

    async def _merged(
        self, base: FileSystem, whole: FileSystem, created: str, lease: Lease, progress: Progress
    ) -> FileSystem:
        tars: list[PipedTar] = []

        def opened() -> PipedTar:
            own = whole.layers[len(base.layers) :]
            tars.append(PipedTar(lambda writer: self._write(writer, base, whole, own, progress)))
            return tars[-1]

        diff_ids = [layer.diff_id for layer in base.layers]
        try:
            blob = await self._assembler().add_layer(opened, diff_ids, lease, progress)
        finally:
            for tar in tars:
                await blocking.run(tar.close)
        layer = Layer(blob=blob, diff_id=blob.digest, created=created)
        return FileSystem(layers=(*base.layers, layer))

    def _write(
        self, writer: TarWriter, base: FileSystem, whole: FileSystem, own: Sequence[Layer], progress: Progress
    ) -> None:
        touched, hollow = self._touched(own, progress.cancel.check)
        root = self._snapshots.image_fd(whole.chain_id)
        try:
            # trees close what they are given
            with closing(MountedTree(os.dup(root), check=progress.cancel.check)) as after:
                if not base.layers:
                    self._write_entries(writer, root, after, EmptyTree(), touched, hollow)
                    return
                with closing(
                    MountedTree(self._snapshots.image_fd(base.chain_id), check=progress.cancel.check)
                ) as before:
                    self._write_entries(writer, root, after, before, touched, hollow)
        finally:
            os.close(root)

    def _touched(self, layers: Sequence[Layer], check: Callable[[], None]) -> tuple[set[str], set[str]]:
        """The paths that layers speak of, and those whose content in the base may be gone."""
        touched: set[str] = set()
        hollow: set[str] = set()
        for layer in layers:
            with self._library.open_blob(layer.blob.digest) as file:
                for entry in TarReader(TarStream(file)):
                    check()
                    note(entry, touched, hollow)
        return touched, hollow

    @staticmethod
    def _write_entries(
        writer: TarWriter, root: int, after: Tree, before: Tree, touched: set[str], hollow: set[str]
    ) -> None:
        packer = Packer(writer)
        packer.root(root)
        for path, is_there in changes(after, before, touched, hollow):
            head, slash, name = path.rpartition("/")
            if is_there:
                parent = openat2(root, os.fsencode(head) or b".", _DIRECTORY, resolve=_RESOLVE)
                try:
                    raw = os.fsencode(name)
                    packer.entry(parent, raw, os.fsencode(path), os.stat(raw, dir_fd=parent, follow_symlinks=False))
                finally:
                    os.close(parent)
            else:
                mark = os.fsencode(f"{head}{slash}{_WHITEOUT}{name}")
                writer.add(Entry(mark, "file", 0o600, 0, 0, 0, 0))


def note(entry: Entry, touched: set[str], hollow: set[str]) -> None:
    """Add what a layer's entry speaks of (see `changes`)."""
    path = os.fsdecode(clean(entry.name))
    head, slash, name = path.rpartition("/")
    if name == _OPAQUE:
        hollow.add(head)
        return
    if name.startswith(_WHITEOUT):
        path = head + slash + name.removeprefix(_WHITEOUT)
    touched.add(path)
    if entry.kind != "directory":
        hollow.add(path)


def changes(after: Tree, before: Tree, touched: set[str], hollow: set[str]) -> Iterator[tuple[str, bool]]:
    """What a layer from `before` to `after` says, parents first: paths that are there, or deleted.

    `touched` are all paths that can differ, but for those below the `hollow` ones. The trees find nothing below a link.
    """
    wanted = {parent for path in touched for parent in _with_parents(path)}
    for path in hollow:
        wanted |= set(_with_parents(path))
        if _is_directory(before, path) and _is_directory(after, path):
            wanted |= {join(path, name) for name, _node in walk(before, path)}
    gone = ""
    for path in sorted(wanted - {""}, key=lambda path: path.split("/")):
        if gone and path.startswith(gone):
            continue
        if not _is_directory(after, path.rpartition("/")[0]):
            continue  # what was a directory is none any more: nothing is below it
        if after.lstat(path) is not None:
            yield path, True
        elif before.lstat(path) is not None:
            gone = f"{path}/"
            yield path, False


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _is_directory(tree: Tree, path: str) -> bool:
    node = tree.lstat(path)
    return node is not None and node.kind == "directory"


def _history(history: Sequence[History], below: int, last: History) -> list[History]:
    """All steps above the lowest `below` layers without one, and what was done in the end."""
    found: list[History] = []
    layers = 0
    for entry in history:
        layers += not entry.empty_layer
        is_own = layers > below
        found.append(msgspec.structs.replace(entry, empty_layer=True) if is_own else entry)
    return [*found, last]
