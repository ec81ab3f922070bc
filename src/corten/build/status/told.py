"""A build's status in the messages of POST /build: `{"aux": {"Status": ...}}`, for Corten's own clients. Daemon's loop.

What the steps do is told by the status face; here are the things around them: the Dockerfile and contexts that come,
and where the result goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from corten.build.exporters.request import ArchiveExport, CacheOnly, FilesExport, ImageExport
from corten.build.options import BuildOptions
from corten.build.sources.source import BuildSource, Recipe
from corten.build.status.board import StatusBoard
from corten.build.status.face import StatusFace
from corten.build.status.names import EXPORT
from corten.build.trees.tree import Tree
from corten.engine.images.progress import Progress
from corten.spec.docker.progress import ProgressMessage

_KINDS = {FilesExport: "client files", ArchiveExport: "archive", CacheOnly: "cache"}


class ToldSource:
    """A source whose files' coming is told."""

    def __init__(self, source: BuildSource, face: StatusFace) -> None:
        self._source = source
        self._face = face

    async def recipe(self) -> Recipe:
        """The Dockerfile."""
        with self._face.loading() as told:
            recipe = await self._source.recipe()
            told.progress("transferring dockerfile:", len(recipe.source.data), done=True)
        return recipe

    async def context(self, name: str, paths: Sequence[str]) -> Tree:
        """A context."""
        with self._face.bringing(name):
            return await self._source.context(name, paths)


@contextmanager
def exporting(face: StatusFace, options: BuildOptions, names: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Tell of the result as long as it goes where it is wanted; what the block gets tells the image's id at the end.
    `names` are those that the image gets here."""
    kinds = dict.fromkeys(_KINDS.get(type(export), "image") for export in options.exports)
    pushed = any(isinstance(export, ImageExport) and export.push for export in options.exports)
    with face.activity(EXPORT.replace("image", ", ".join(kinds) or "nothing")) as told:
        if pushed:
            told.progress("pushing layers", 0)

        def done(image_id: str) -> None:
            if "image" in kinds:
                for line in (
                    "exporting layers", f"writing image {image_id}", *(f"naming to {name}" for name in names)
                ):  # fmt: skip
                    told.progress(line, 0, done=True)
            if pushed:
                told.progress("pushing layers", 0, done=True)

        yield done


@asynccontextmanager
async def telling(board: StatusBoard, progress: Progress) -> AsyncIterator[None]:
    """Send what stands on the board as long as the block, and the rest of it at its end."""

    async def tell() -> None:
        async for status in board.messages():
            progress.say(ProgressMessage(aux={"Status": status}))
            await progress.keep_up()

    task = asyncio.ensure_future(tell())
    try:
        yield
    except asyncio.CancelledError:  # nobody listens any more
        task.cancel()
        raise
    finally:
        board.end()
        await asyncio.wait([task])
