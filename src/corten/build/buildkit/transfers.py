"""What a client sends for a build, told as steps with the bytes that have come. Daemon's loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from corten.build.sources.source import BuildSource, Recipe
from corten.build.status_face import Activity, StatusFace
from corten.build.trees.tree import Tree

_DOCKERFILE = "dockerfile"


class Transfers:
    """What comes now: sources tell of `dockerfile`, `.dockerignore` and directories, by name, from any task."""

    def __init__(self, face: StatusFace) -> None:
        self._face = face
        self._now: Activity | None = None

    @contextmanager
    def during(self, activity: Activity) -> Iterator[None]:
        """Lines are this step's as long as the block."""
        before, self._now = self._now, activity
        try:
            yield
        finally:
            self._now = before

    def told(self, what: str, count: int) -> None:
        """So many bytes of something have come."""
        if self._now is not None:
            line = "transferring dockerfile:" if what == _DOCKERFILE else "transferring context:"
            self._now.progress(line, count, name="transferring")


class ToldSource:
    """A source that tells what it brings."""

    def __init__(self, source: BuildSource, face: StatusFace, transfers: Transfers) -> None:
        self._source = source
        self._face = face
        self._transfers = transfers

    async def recipe(self) -> Recipe:
        """See BuildSource."""
        with self._face.loading() as activity, self._transfers.during(activity):
            return await self._source.recipe()

    async def context(self, name: str, paths: Sequence[str]) -> Tree:
        """See BuildSource."""
        with self._face.bringing(name) as activity, self._transfers.during(activity):
            return await self._source.context(name, paths)
