"""A build as BuildKit's clients see it: its steps, their output and what the checks found, on a board. Daemon's loop.

It knows no transport: the daemon's gRPC and Corten's own progress read it from there (`board.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from corten.build.diagnosis import FailedStep
from corten.build.dockerfile.error import DockerfileError, Lines
from corten.build.dockerfile.stages import parse_dockerfile
from corten.build.face import IdAfter, Watcher
from corten.build.graph import Vertex
from corten.build.operations import Context
from corten.build.plan import Plan
from corten.build.solver import Solver, State
from corten.build.status.board import StatusBoard
from corten.build.status.names import (
    CANCELLED,
    context_digest,
    context_name,
    digest_named,
    digest_of,
    names_of,
    normal,
    reason_text,
    solve_text,
)
from corten.errors import CortenError
from corten.lib.disk_full import words
from corten.spec.docker.lint import LintWarning, SourceFile
from corten.spec.docker.progress import ProgressMessage
from corten.spec.docker.solve_status import SourceInfo, VertexWarning

_LOG_LIMIT = 2 << 20  # bytes of one step's stream
_LOG_SPEED = 200 << 10  # a second
_LOAD = "[internal] load build definition from {}"
_WARNING = "[Warning] "
_BEGINNINGS = {
    "Pulling from ": "[internal] pull ",
    "Importing the build cache from ": "importing cache manifest from ",
    "Exporting the build cache to ": "exporting cache to ",
}
_PULLED = ("Pull complete", "Already exists", "Download complete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a build failed, in BuildKit's words; the step's digest, if it was one, and the Dockerfile's lines."""

    text: str
    digest: str
    lines: Lines


class Activity:
    """Something that is done beside the steps of the plan, and its lines."""

    def __init__(self, board: StatusBoard, digest: str) -> None:
        self._board = board
        self._digest = digest

    def progress(self, line: str, current: int, total: int = 0, *, name: str = "", done: bool = False) -> None:
        """How far it is with something (bytes)."""
        self._board.progress(self._digest, line, name=name, current=current, total=total, done=done)


class StatusFace:
    """The face of one build that is told by way of a board.

    `filename` is the Dockerfile's; `several`: it is for several platforms; `warns`: findings are warnings."""

    def __init__(
        self, board: StatusBoard, *, filename: str = "Dockerfile", several: bool = False, warns: bool = True
    ) -> None:
        self._board = board
        self._filename = filename or "Dockerfile"
        self._several = several
        self._warns = warns
        self._runs: list[tuple[dict[Vertex, str], Solver]] = []
        self._pulls = _Pulls(board)
        self._unresolved: tuple[str, Exception] | None = None
        self.source: SourceFile | None = None
        self.findings: tuple[LintWarning, ...] = ()

    @contextmanager
    def activity(self, name: str, digest: str = "") -> Iterator[Activity]:
        """Tell of something that is done as long as the block."""
        digest = digest or digest_named(name)
        self._board.announce(digest, name)
        self._board.started(digest)
        try:
            yield Activity(self._board, digest)
        except Exception as error:
            self._board.completed(digest, error=reason_text(None, error))
            raise
        except BaseException:
            self._board.completed(digest, error=CANCELLED)
            raise
        self._board.completed(digest)

    def loading(self) -> AbstractContextManager[Activity]:
        """Tell of the Dockerfile that comes, as long as the block."""
        return self.activity(_LOAD.format(self._filename))

    def bringing(self, name: str) -> AbstractContextManager[Activity]:
        """Tell of a context that comes, as long as the block."""
        return self.activity(context_name(name), context_digest(name))

    # -- the face

    def begun(self, source: SourceFile) -> None:
        """Keep the Dockerfile, for what may fail."""
        self.source = source

    @contextmanager
    def resolving(self, reference: str) -> Iterator[None]:
        """`[internal] load metadata for ...`."""
        with self.activity(f"[internal] load metadata for {normal(reference)}"):
            try:
                yield
            except (CortenError, OSError) as error:
                self._unresolved = reference, error
                raise

    def pulling(self, message: ProgressMessage) -> None:
        """An image or a cache comes or goes."""
        if message.stream.startswith(_WARNING):
            self._board.warn(VertexWarning(level=1, short=message.stream.removeprefix(_WARNING).strip().encode()))
        self._pulls.say(message)

    def checked(self, findings: Sequence[LintWarning], source: SourceFile) -> None:
        """Warnings, which clients show behind the build."""
        self.findings = tuple(findings)
        if not self._warns:
            return
        info = SourceInfo(filename=source.filename, data=source.data, language=source.language)
        digest = digest_named(_LOAD.format(self._filename))
        for found in findings:
            lines = found.location.ranges
            place = f" (line {lines[0].start.line})" if lines else ""
            warning = VertexWarning(
                vertex=digest,
                level=1,
                short=f"{found.rule_name}: {found.detail}{place}".encode(),
                detail=[found.description.encode()],
                url=found.url,
                source_info=info,
                range=list(lines),
            )
            self._board.warn(warning)

    def watch(self, plan: Plan, solver: Solver, id_after: IdAfter) -> Watcher:  # noqa: ARG002 - the form of a face
        """Announce the plan's steps."""
        names = names_of(plan, platform=plan.platform if self._several else "")
        self._runs.append((names, solver))
        for vertex, name in names.items():
            inputs = [digest_of(below) for below in vertex.inputs if below in names]
            self._board.announce(digest_of(vertex), name, inputs)
        for text in plan.warnings:
            self._board.warn(VertexWarning(level=1, short=text.encode()))
        return StatusWatcher(self._board, solver, list(names))

    # -- the end

    def failed(self, error: Exception) -> Failure:
        """The build has failed: tell which step it was, and what there is to say of it."""
        reason = error.reason if isinstance(error, FailedStep) else error
        failed = self._failed_vertex()
        digest = ""
        if failed is not None:
            digest = digest_of(failed)
            self._board.started(digest)
            self._board.completed(digest, error=reason_text(failed, reason))
        self._pulls.end(reason_text(None, error))
        self.cancelled()
        if self._unresolved is not None and self._unresolved[1] is error:
            return self._of_image(self._unresolved[0], error)
        lines = error.lines if isinstance(error, DockerfileError | FailedStep) else (0, 0)
        return Failure(text=solve_text(failed, reason), digest=digest, lines=lines)

    def _of_image(self, reference: str, error: Exception) -> Failure:
        """An image that there is not, with the FROM that names it."""
        text = f"{reference}: failed to resolve source metadata for {normal(reference)}: {words(error)}"
        stages = parse_dockerfile(self.source.data).stages if self.source is not None else ()
        lines = next((stage.from_.node.lines for stage in stages if stage.from_.base == reference), (0, 0))
        return Failure(text=text, digest="", lines=lines)

    def cancelled(self) -> None:
        """What still runs has been ended."""
        self._pulls.end(CANCELLED)
        for digest in self._board.unfinished():
            self._board.completed(digest, error=CANCELLED)

    def _failed_vertex(self) -> Vertex | None:
        """The step that has failed."""
        found = (vertex for names, solver in self._runs for vertex in names if solver.state(vertex) is State.FAILED)
        return next(found, None)


class StatusWatcher:
    """Tells of the steps as the solver gets on."""

    def __init__(self, board: StatusBoard, solver: Solver, vertices: Sequence[Vertex]) -> None:
        self._board = board
        self._solver = solver
        self._open = dict.fromkeys(vertices)
        self._clips: dict[tuple[Vertex, int], _Clip] = {}

    def begun(self, vertex: Vertex) -> None:
        """A step is done now."""
        self._board.started(digest_of(vertex))

    def running(self, vertex: Vertex, cid: str) -> None:
        """A step's container was made, which is no news here."""

    async def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """A step has written something: told up to a limit, as BuildKit does."""
        clip = self._clips.setdefault((vertex, stream), _Clip(time.monotonic()))
        data = clip.clipped(data, time.monotonic())
        if data:
            self._board.output(digest_of(vertex), stream, data)

    def removed(self, vertex: Vertex, cid: str) -> None:
        """A step's container is gone, which is no news here."""

    async def changed(self) -> None:
        """Tell what has begun, and what is over."""
        settled = self._solver.settled()
        for vertex in list(self._open):
            state = self._solver.state(vertex)
            digest = digest_of(vertex)
            if state is State.DIGESTING and not vertex.inputs:  # an origin is asked: BuildKit's sources begin so, too
                self._board.started(digest)
            elif state in (State.FAILED, State.CANCELLED):
                del self._open[vertex]  # the face tells of them when it knows why
            elif vertex in settled:
                del self._open[vertex]
                self._over(vertex, digest)

    def _over(self, vertex: Vertex, digest: str) -> None:
        is_input = isinstance(vertex.operation, Context)
        cached = self._solver.is_cached(vertex) and not is_input
        self._board.completed(digest, cached=cached)


@dataclass(slots=True)
class _Clip:
    """How much of a stream was told; BuildKit's limits and words."""

    began: float
    size: int = 0
    is_clipping: bool = False

    def clipped(self, data: bytes, now: float) -> bytes:
        by_speed = max(1, math.ceil(now - self.began)) * _LOG_SPEED
        limit, text = (by_speed, "200KiB/s") if by_speed < _LOG_LIMIT else (_LOG_LIMIT, "2MiB")
        room = max(0, limit - self.size)
        self.size += len(data)
        if len(data) <= room:
            self.is_clipping = False
            return data
        if self.is_clipping:
            return b""
        self.is_clipping = True
        return data[:room] + f"\n[output clipped, log limit {text} reached]\n".encode()


class _Pulls:
    """Images and caches that come and go, each a step: its layers are lines, as `docker pull` has them. Several may
    come at once: a line is of the image that began last before it was first heard of."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._coming: dict[str, str] = {}  # digests of steps, by what comes
        self._lines: dict[str, str] = {}  # digests of steps, by line

    def say(self, message: ProgressMessage) -> None:
        beginning = next((text for text in _BEGINNINGS if message.status.startswith(text)), "")
        if beginning:
            what = message.status.removeprefix(beginning)
            name = f"{what}:{message.id}" if message.id else what
            digest = self._coming[name] = digest_named(f"{beginning}{name}")
            self._board.announce(digest, f"{_BEGINNINGS[beginning]}{normal(name) if message.id else what}")
            self._board.started(digest)
        elif message.status.startswith("Status: "):
            self._over(message.status)
        elif message.id and (self._coming or message.id in self._lines):
            detail = message.progress_detail
            self._board.progress(
                self._lines.setdefault(message.id, next(reversed(self._coming.values()), "")),
                message.id,
                name=message.status.lower(),
                current=detail.current if detail else 0,
                total=detail.total if detail else 0,
                done=message.status in _PULLED,
            )

    def _over(self, text: str) -> None:
        """The image that `text` names has come."""
        name = next((name for name in self._coming if text.endswith(name.removeprefix("library/"))), "")
        if name:
            self._board.completed(self._coming.pop(name))

    def end(self, error: str = "") -> None:
        """Nothing more comes."""
        for digest in self._coming.values():
            self._board.completed(digest, error=error)
        self._coming.clear()
