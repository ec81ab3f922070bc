"""Contexts as directories that the client passed, read by the daemon with its rights. Daemon's loop; disk threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from corten.build.dockerfile.dockerignore import Matcher, parse_ignore
from corten.build.sources.source import DOCKERFILE_LIMIT, Recipe, recipe_in, text_in
from corten.build.trees.directory import DirectoryTree
from corten.build.trees.hashes import ContextHashes, HashMemory
from corten.build.trees.tree import Tree
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.settled import released
from corten.errors import InvalidArgument
from corten.linux.acting import Identity
from corten.spec import reference as references
from corten.spec.docker.lint import SourceFile

_IGNORE = ".dockerignore"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directories:
    """What a client passed: descriptors by the contexts' names (empty: the build context), its rights, and a Dockerfile
    and its .dockerignore, when these are not in the build context."""

    contexts: Mapping[str, int]
    reader: Identity
    dockerfile: bytes | None = None
    ignore: bytes | None = None


class DirectorySource:
    """The source of one build; the descriptors stay open as long, and are closed by who passed them."""

    def __init__(self, passed: Directories, dockerfile: str, memory: HashMemory, progress: Progress) -> None:
        self._passed = passed
        self._dockerfile = dockerfile
        self._memory = memory
        self._progress = progress
        self._ignored: Matcher | None = None
        self._trees: dict[str, DirectoryTree] = {}
        self._hashes: list[ContextHashes] = []
        self._looking = asyncio.Lock()

    async def recipe(self) -> Recipe:
        """The Dockerfile. Raises InvalidArgument, OSError."""
        recipe = await self._look(self._read)
        self._ignored = recipe.ignored
        return recipe

    async def context(self, name: str, paths: Sequence[str]) -> Tree:  # noqa: ARG002 - what is not taken is not read
        """A directory. Raises InvalidArgument for one that the client did not pass."""
        await self._look(self._open, name)
        return self._trees[name]

    async def _look(self, look: Callable[..., T], *names: str) -> T:
        """In a thread; a directory of a network or a program may never let go of it: one build has one."""
        async with self._looking:
            return await run_cancellable(self._progress, "passed", look, *names)

    async def close(self) -> None:
        """Close what it opened, and remember the hashes."""
        if self._trees or self._hashes:
            await released(self._close)

    def _close(self) -> None:
        for tree in self._trees.values():
            tree.close()
        for hashes in self._hashes:
            with suppress(OSError):  # of a full disk: the next build reads the files again
                hashes.save()

    def _read(self) -> Recipe:
        passed = self._passed
        for text in (passed.dockerfile, passed.ignore):
            if text is not None and len(text) > DOCKERFILE_LIMIT:
                raise InvalidArgument(f"a Dockerfile or .dockerignore has more than {DOCKERFILE_LIMIT} bytes")
        if "" not in passed.contexts:
            if passed.dockerfile is None:
                raise InvalidArgument("the client sent neither a build context nor a Dockerfile")
            return Recipe(source=SourceFile(filename=self._dockerfile, data=passed.dockerfile))
        tree = self._tree("", ContextHashes(), None)
        try:
            if passed.dockerfile is None:
                return recipe_in(tree, self._dockerfile)
            patterns = passed.ignore if passed.ignore is not None else text_in(tree, _IGNORE)
            ignored = None if patterns is None else Matcher(parse_ignore(patterns))
            return Recipe(source=SourceFile(filename=self._dockerfile, data=passed.dockerfile), ignored=ignored)
        finally:
            tree.close()

    def _open(self, name: str) -> None:
        """Open a context, once; it is there to be closed, also when its build is cancelled meanwhile."""
        if name in self._trees:
            return
        key = self._key(name)
        ignored = self._own_ignored(key) if key else self._ignored
        hashes = self._memory.open(self._passed.contexts[key], self._passed.reader.uid)
        self._hashes.append(hashes)
        self._trees[name] = self._tree(key, hashes, ignored)

    def _own_ignored(self, key: str) -> Matcher | None:
        """What a named context's own .dockerignore says."""
        tree = self._tree(key, ContextHashes(), None)
        try:
            patterns = text_in(tree, _IGNORE)
        finally:
            tree.close()
        return None if patterns is None else Matcher(parse_ignore(patterns))

    def _tree(self, key: str, hashes: ContextHashes, ignored: Matcher | None) -> DirectoryTree:
        fd = os.dup(self._passed.contexts[key])
        check = self._progress.cancel.check
        return DirectoryTree(fd, self._passed.reader, hashes, ignored=ignored, check=check)

    def _key(self, name: str) -> str:
        """The name that the client uses: that of an image is the same with its tag and registry. Raises
        InvalidArgument."""
        names = self._passed.contexts
        if name in names:
            return name
        found = next((key for key in names if key and name and _normal(key) == _normal(name) != ""), None)
        if found is None:
            raise InvalidArgument(f"the client does not send a context named {name!r}")
        return found


def _normal(name: str) -> str:
    try:
        return str(references.parse(name).with_default_tag())
    except InvalidArgument:
        return ""
