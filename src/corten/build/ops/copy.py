"""COPY, ADD and WORKDIR: a layer written from where the files are, without a process. Daemon's loop; disk threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import BinaryIO, TypeVar

from corten.build.copying.archive import is_archive, open_archive
from corten.build.copying.layer import Attributes, LayerPlan
from corten.build.copying.mode import mode_change
from corten.build.copying.owner import owner_of
from corten.build.copying.select import Selection, Taken, digest, everything, select
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Copy, LinkedCopy, MakeDirectory
from corten.build.ops.inputs import Inputs
from corten.build.ops.store import LayerStore
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import DirectoriesAlone, Tree, resolve
from corten.engine.containers.users import Accounts, read_accounts
from corten.errors import CortenError
from corten.errors import NotImplemented as NotOffered
from corten.lib.disk_full import words
from corten.lib.tar_writer import TarWriter

T = TypeVar("T")


class CopyFailed(CortenError):
    """A COPY, ADD or WORKDIR cannot be done as it is written."""

    code = "build-copy-failed"


class Copier:
    """Copies for one build. Archives are unpacked by way of files that `new_file` makes."""

    def __init__(self, *, store: LayerStore, inputs: Inputs, new_file: Callable[[], BinaryIO]) -> None:
        self._store = store
        self._inputs = inputs
        self._new_file = new_file

    async def digest(self, vertex: Vertex, copy: Copy, inputs: Sequence[FileSystem | None]) -> str:
        """What a copy takes, as one digest. Raises CopyFailed."""

        def work() -> str:
            with self._selected(vertex, copy, inputs) as (_, selection):
                return digest(selection.taken)

        return await self._worded(vertex, work)

    async def copy(self, vertex: Vertex, copy: Copy, inputs: Sequence[FileSystem | None]) -> FileSystem:
        """The target with what is copied; onto nothing, as a layer for any file system. Raises CopyFailed."""
        below = _target(inputs)
        is_apart = isinstance(copy, LinkedCopy)

        def fill(writer: TarWriter) -> None:
            with self._selected(vertex, copy, inputs) as (target, selection):
                attributes = self._attributes(target, copy.owner, copy.mode)
                plan = LayerPlan(DirectoriesAlone(target) if copy.link else target, attributes)
                plan.place(selection, copy.destination)
                plan.write(writer, apart=is_apart)

        try:
            return await (self._store.add_apart(fill) if is_apart else self._store.add(below, fill))
        except (CortenError, OSError) as error:
            raise _failed(vertex, error) from error

    async def merge(self, vertex: Vertex, below: FileSystem, above: FileSystem) -> FileSystem:
        """A file system with what was copied onto nothing. Raises CopyFailed."""
        try:
            return await self._store.put(below, above)
        except (CortenError, OSError) as error:
            raise _failed(vertex, error) from error

    async def make_directory(self, vertex: Vertex, wanted: MakeDirectory, below: FileSystem) -> FileSystem:
        """The target with a directory, where it is missing. Raises CopyFailed."""

        def plan(target: Tree) -> LayerPlan:
            made = LayerPlan(target, self._attributes(target, wanted.owner, ""))
            made.make_directory(resolve(target, wanted.path))
            return made

        def is_there() -> bool:
            with self._store.tree(below) as target:
                return plan(target).is_empty

        def fill(writer: TarWriter) -> None:
            with self._store.tree(below) as target:
                plan(target).write(writer)

        if await self._worded(vertex, is_there):
            return below
        return await self._store.add(below, fill)

    async def _worded(self, vertex: Vertex, work: Callable[[], T]) -> T:
        try:
            return await self._store.work(work)
        except (CortenError, OSError) as error:
            raise _failed(vertex, error) from error

    def _attributes(self, target: Tree, owner: str, mode: str) -> Attributes:
        accounts = read_accounts(target.root_fd) if isinstance(target, MountedTree) and owner else Accounts()
        return Attributes(
            owner=owner_of(owner, accounts),
            mode=mode_change(mode),
            now_ns=self._store.now_ns(),
        )

    @contextmanager
    def _selected(
        self, vertex: Vertex, copy: Copy, inputs: Sequence[FileSystem | None]
    ) -> Iterator[tuple[Tree, Selection]]:
        """The target's tree and what is taken of the others, as long as the block. Blocking."""
        with ExitStack() as closing:
            trees = closing.enter_context(self._inputs.open(vertex, inputs))
            selection = select(copy, trees, keeps_owner=[result is not None for result in inputs])
            taken = tuple(self._unpacked(one, closing) if one.unpack else one for one in selection.taken)
            yield trees[0], replace(selection, taken=taken)

    def _unpacked(self, taken: Taken, closing: ExitStack) -> Taken:
        """An archive as the directory that it holds; anything else as it is."""
        if taken.directory or not taken.items:
            return taken
        item = taken.items[0]
        if item.node.kind != "file" or not is_archive(item.tree, item.path):
            return taken
        tree = open_archive(item.tree, item.path, self._new_file, self._store.progress.cancel.check)
        closing.callback(tree.close)
        root = tree.lstat("")
        assert root is not None
        return Taken(everything(tree, "", root), directory=True, name="", keeps_owner=True)


def _target(inputs: Sequence[FileSystem | None]) -> FileSystem:
    target = inputs[0]
    assert target is not None
    return target


def _failed(vertex: Vertex, error: Exception) -> CortenError:
    if isinstance(error, CopyFailed | NotOffered):
        return error
    instruction = vertex.name.partition(" ")[0] or "COPY"
    return CopyFailed(f"{instruction} failed: {words(error)}")
