"""How a client of the classic API hears of its build: in words as they come; a quiet one when it fails. Daemon.

It says nothing of the request itself, and has no part in the build (`classic.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from corten.build.classic_stream import ClassicStream, Late, PrefixedLines, Room
from corten.build.diagnosis import findings
from corten.build.face import IdAfter, Watcher
from corten.build.options import BuildOptions
from corten.build.plan import Plan
from corten.build.solver import Solver
from corten.engine.images.progress import Progress
from corten.spec.docker.lint import LintWarning, SourceFile
from corten.spec.docker.progress import ProgressMessage

_KEPT = 256  # messages


class ClassicFace:
    """Tells of one build in the classic stream; a quiet one's is kept until it fails."""

    def __init__(self, options: BuildOptions, progress: Progress, room: Room) -> None:
        self._room = room
        self._streams: list[ClassicStream] = []
        self._options = options
        self._progress = progress
        self._kept: deque[ProgressMessage | Late] = deque(maxlen=_KEPT)
        self._say: Callable[[ProgressMessage], None] = self._kept.append if options.quiet else progress.say
        self._several = "," in options.platform
        self._lines: list[PrefixedLines] = []
        self.source: SourceFile | None = None

    def flush(self) -> None:
        """Say what is left of lines without an end."""
        for lines in self._lines:
            lines.flush()

    async def tell_kept(self) -> None:
        """Say what a quiet build has not said, and what is left of lines without an end."""
        for told in self._streams:
            await told.catch_up()
        self.flush()
        for kept in self._kept:
            message = kept() if callable(kept) else kept
            if message is not None:
                self._progress.say(message)

    def begun(self, source: SourceFile) -> None:
        """Keep the Dockerfile, for what may fail."""
        self.source = source

    def resolving(self, reference: str) -> AbstractContextManager[object]:  # noqa: ARG002 - the form of a face
        """Nothing to say before it is pulled."""
        return nullcontext()

    def pulling(self, message: ProgressMessage) -> None:
        """As `docker pull` has it."""
        self._say(message)

    def checked(self, found: Sequence[LintWarning], source: SourceFile) -> None:
        """For clients that ask for it."""
        if self._options.diagnostics:
            self._progress.say(findings(found, source))

    def watch(self, plan: Plan, solver: Solver, id_after: IdAfter) -> Watcher:
        """`Step 1/5 : ...`; with the platform before each line when there are several."""
        say, later = self._say, self._kept.append if self._options.quiet else None
        if self._several:
            self._lines.append(PrefixedLines(f"[{plan.platform}] ", say))
            say, later = self._lines[-1].say, None
        if later is not None:  # once more: what was not said of the first try need not be
            self.close()
            self._streams.clear()
        told = ClassicStream(plan, solver, say, self._progress.keep_up, id_after, room=self._room, say_later=later)
        self._streams.append(told)
        return told

    def close(self) -> None:
        """The build is over."""
        for told in self._streams:
            told.close()
