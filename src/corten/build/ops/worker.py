"""The table of operations: how each is keyed, and what does it. Daemon's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.lazy_layers import ImportLost, LazyLayers
from corten.build.operations import (
    BaseImage,
    Context,
    Copy,
    Download,
    GitCheckout,
    InlineFiles,
    LinkedCopy,
    MakeDirectory,
    Merge,
    Operation,
    Run,
    Scratch,
)
from corten.build.ops.copy import Copier
from corten.build.ops.download import Downloader
from corten.build.ops.git import GitCheckouts
from corten.build.ops.run import Runner
from corten.build.solver import Keying
from corten.engine.images.settled import settled
from corten.errors import NotImplemented as NotOffered
from corten.spec.oci_image import ImageConfig

_KEYING: dict[type[Operation], Keying] = {
    BaseImage: Keying.DEFINITION,
    Scratch: Keying.DEFINITION,
    Context: Keying.LOCAL,
    InlineFiles: Keying.LOCAL,
    Download: Keying.IDENTITY,
    GitCheckout: Keying.IDENTITY,
    MakeDirectory: Keying.DEFINITION,
    Copy: Keying.CONTENT,
    LinkedCopy: Keying.CONTENT,
    Merge: Keying.DEFINITION,
    Run: Keying.DEFINITION,
}


def keying_of(vertex: Vertex) -> Keying:
    """How the key of a vertex' operation comes about; that of a command also of what its mounts show it."""
    if isinstance(vertex.operation, Run) and len(vertex.inputs) > 1:
        return Keying.CONTENT
    return _KEYING[type(vertex.operation)]


class Operations:
    """What the operations of one build can do; `bases` are the file systems of the images that it names, by id.

    The layers of what an operation reads are brought first; those of the `target` may stay away.
    """

    def __init__(
        self,
        *,
        runner: Runner,
        copier: Copier,
        downloader: Downloader,
        checkouts: GitCheckouts,
        bases: Mapping[str, FileSystem],
        lazy: LazyLayers,
        target: Vertex,
    ) -> None:
        self._runner = runner
        self._copier = copier
        self._downloader = downloader
        self._checkouts = checkouts
        self._bases = bases
        self._lazy = lazy
        self._target = target

    async def keep(self, filesystem: FileSystem, config: ImageConfig) -> None:
        """Keep what a step that copies was to change for people to look at, if it is here."""
        if filesystem.layers and self._lazy.is_complete(filesystem):
            await self._runner.keep(filesystem, config)

    @property
    def commits(self) -> dict[Vertex, str]:
        """What git sources meant, as far as they were asked."""
        return self._checkouts.commits

    async def close(self) -> None:
        """Let go of what was fetched and not used, and of what steps were shown."""
        self._downloader.close()
        await self._runner.close()

    async def digest(self, vertex: Vertex, inputs: list[FileSystem | None]) -> str:
        """What a copy takes of its sources, a command's mounts show of them, or an origin has now.

        Raises CopyFailed, NotFound, and what fetching raises."""
        with _naming_the_line(vertex):
            if isinstance(vertex.operation, Download):
                return await self._downloader.identity(vertex, vertex.operation)
            if isinstance(vertex.operation, GitCheckout):
                return await self._checkouts.identity(vertex, vertex.operation)
            inputs = [None, *inputs[1:]]  # what is written to does not count
            await self._have(inputs)
            if isinstance(vertex.operation, Run):
                return await self._runner.digest(vertex, vertex.operation, inputs)
            assert isinstance(vertex.operation, Copy)
            return await self._copier.digest(vertex, vertex.operation, inputs)

    async def execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        """Do it. Raises CopyFailed, StepFailed, and what creating and starting containers raise."""
        with _naming_the_line(vertex):
            return await self._execute(vertex, inputs)

    async def _execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        operation = vertex.operation
        if isinstance(operation, Scratch):
            return FileSystem()
        if isinstance(operation, BaseImage):
            base = self._bases[operation.image_id]
            if vertex != self._target:  # something that is done now reads it
                await self._have([base])
            return base
        await self._have(inputs)
        if isinstance(operation, Copy):
            return await self._copier.copy(vertex, operation, inputs)
        if isinstance(operation, Download):
            return await self._downloader.download(vertex, operation)
        if isinstance(operation, GitCheckout):
            return await self._checkouts.checkout(vertex, operation)
        below = inputs[0] if inputs else None
        if isinstance(operation, Merge) and below is not None and inputs[1] is not None:
            return await self._merge(vertex, below, inputs[1])
        if isinstance(operation, MakeDirectory) and below is not None:
            return await self._copier.make_directory(vertex, operation, below)
        if isinstance(operation, Run) and below is not None:
            return await self._runner.run(vertex, operation, inputs)
        raise NotOffered(f"{vertex.name or type(operation).__name__} is not supported yet")

    async def _merge(self, vertex: Vertex, below: FileSystem, above: FileSystem) -> FileSystem:
        """What was copied onto nothing is one layer; but an imported cache may say anything. Raises ImportLost then."""
        if len(above.layers) != 1:
            raise ImportLost(
                f"what the cache has of {vertex.name!r} is {len(above.layers)} layers and not one",
                hint="build with --no-cache",
            )
        return await self._copier.merge(vertex, below, above)

    async def _have(self, filesystems: Iterable[FileSystem | None]) -> None:
        """Bring what is missing of them, side by side; the first error is raised when all have ended."""
        works = [asyncio.ensure_future(self._lazy.have(one)) for one in filesystems if one is not None]
        try:
            await asyncio.gather(*works)
        except BaseException:
            for work in works:
                work.cancel()
            await settled(works)
            raise


@contextmanager
def _naming_the_line(vertex: Vertex) -> Iterator[None]:
    """What is not done yet is told with its line of the Dockerfile."""
    try:
        yield
    except NotOffered as error:
        raise NotOffered(f"dockerfile line {vertex.lines[0]}: {error}") from error
