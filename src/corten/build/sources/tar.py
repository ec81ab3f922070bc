"""A build context that came as a tar, in a file of its own: the Dockerfile is in it. Daemon's loop; disk threads.

A small one is read on the loop, unless something in it takes long that is short to say: patterns of a .dockerignore, of
which each is compiled and compared with all names, or names with thousands of directories.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

from corten.build.sources.source import Recipe, recipe_in
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import Tree
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.settled import released
from corten.engine.images.spool import SMALL
from corten.errors import InvalidArgument

_SLASHES = 4096


class TarSource:
    """The source of one build, read from `file`; `dockerfile` is the name in it, empty for the usual one."""

    def __init__(self, file: BinaryIO, dockerfile: str, progress: Progress) -> None:
        self._file = file
        self._dockerfile = dockerfile
        self._progress = progress
        self._tree: TarTree | None = None

    async def close(self) -> None:
        """Close the file, which frees what it has on disk."""
        if self._is_small():
            self._file.close()
        else:
            await released(self._file.close)

    def _is_small(self) -> bool:
        return os.fstat(self._file.fileno()).st_size <= SMALL

    async def recipe(self) -> Recipe:
        """The Dockerfile in the tar. Raises InvalidArgument, InvalidTar."""
        if self._is_small() and _is_quick(os.pread(self._file.fileno(), SMALL, 0)):
            self._tree, recipe = self._read()
        else:
            self._tree, recipe = await run_cancellable(self._progress, "disk", self._read)
        return recipe

    async def context(self, name: str, paths: Sequence[str]) -> Tree:  # noqa: ARG002 - all of it is here
        """The tar. Raises InvalidArgument for a named context, of which a tar has none."""
        if name or self._tree is None:
            raise InvalidArgument(f"the client does not send a context named {name!r}")
        return self._tree

    def _read(self) -> tuple[TarTree, Recipe]:
        tree = TarTree(self._file, check=self._progress.cancel.check)
        recipe = recipe_in(tree, self._dockerfile)
        if recipe.ignored is not None:
            tree.without(recipe.ignored.ignores)
        return tree, recipe


def _is_quick(data: bytes) -> bool:
    """Whether a whole small tar is read in a moment; the names in it stand in its bytes as they are."""
    return b".dockerignore" not in data and data.count(b"/") <= _SLASHES
