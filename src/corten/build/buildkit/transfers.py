"""What a client sends for a build, told as steps with the bytes that have come. Daemon's loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from corten.build.sources.source import BuildSource, Recipe
from corten.build.status.face import Activity, StatusFace
from corten.build.trees.tree import Tree

_DOCKERFILE = "dockerfile"
_IGNORE_FILE = ".dockerignore"
_LOAD_IGNORE = "[internal] load .dockerignore"


class Transfers:
    """What comes now: sources tell of `dockerfile`, `.dockerignore` and directories, by name."""

    def __init__(self, face: StatusFace) -> None:
        self._face = face
        self._now: Activity | None = None
        self._besides = ExitStack()
        self._ignore: Activity | None = None

    @contextmanager
    def during(self, activity: Activity) -> Iterator[None]:
        """Lines are this step's as long as the block; a .dockerignore is a step of its own."""
        self._now = activity
        with ExitStack() as self._besides:
            try:
                yield
            finally:
                self._now = self._ignore = None

    def told(self, what: str, count: int) -> None:
        """So many bytes of something have come."""
        if what == _IGNORE_FILE and self._now is not None and self._ignore is None:
            self._ignore = self._besides.enter_context(self._face.activity(_LOAD_IGNORE))
        activity = self._ignore if what == _IGNORE_FILE else self._now
        if activity is not None:
            line = "transferring dockerfile:" if what == _DOCKERFILE else "transferring context:"
            activity.progress(line, count, name="transferring")


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
