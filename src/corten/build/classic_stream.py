"""A build as the classic builder tells of it: `Step 1/5 : ...`, in the order of the Dockerfile. Daemon's loop.

Steps run in parallel; what one writes before it is its turn is kept, up to a limit, and told then. A step of which
nothing more will come is told as cached when the cache had it or what stands on it. The ids are those of the images
that the build would give if it ended there; no such image is stored. Source: Docker 26's output with DOCKER_BUILDKIT=0.
"""

from __future__ import annotations

import codecs
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from corten.build.graph import Vertex
from corten.build.plan import Plan, Stage, Step
from corten.build.solver import Solver, State
from corten.lib.loop_time import Slices
from corten.spec.docker.progress import ProgressMessage, stream_line

_KEPT = 2 << 20
_KEPT_OF_ALL = 16 << 20
_PIECE_BYTES = 64  # what a piece of text takes in memory besides its characters
_CLIPPED = "[output clipped, too much was written before it was the step's turn]\n"
_SHORT = 12
_LINE_LIMIT = 64 << 10
_decoder = partial(codecs.getincrementaldecoder("utf-8"), "replace")
Late = Callable[[], ProgressMessage | None]  # makes a message when it is told


@dataclass(slots=True)
class _Told:
    """What there is to tell of a vertex. `begun`: it is its step's turn, all is told at once from here on; `decoders`
    are by stream, for characters that two pieces share."""

    decoders: dict[int, codecs.IncrementalDecoder] = field(default_factory=lambda: defaultdict(_decoder))
    waiting: list[str] = field(default_factory=list)
    size: int = 0
    held: int = 0
    is_clipped: bool = False
    begun: bool = False


class PrefixedLines:
    """Says a stream's lines with a prefix, each whole, so that those of several platforms do not mix."""

    def __init__(self, prefix: str, say: Callable[[ProgressMessage], None]) -> None:
        self._prefix = prefix
        self._say = say
        self._rest = ""

    def say(self, message: ProgressMessage) -> None:
        """One message of the stream; others pass."""
        if not message.stream:
            self._say(message)
            return
        *lines, self._rest = (self._rest + message.stream).split("\n")
        for line in lines:
            self._say(stream_line(f"{self._prefix}{line}\n"))
        if len(self._rest) > _LINE_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Say what is left."""
        if self._rest:
            self._say(stream_line(f"{self._prefix}{self._rest}\n"))
        self._rest = ""


class Room:
    """How many bytes of output all builds together may keep that cannot be told yet; one a daemon."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Keep so much, if there is room."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """It is kept no longer."""
        self._left += size


class ClassicStream:
    """The watcher of one build; `say` sends a message, `keep_up` waits for a slow reader. `id_after` gives the image id
    after a step, if it is known. `say_later` is for who may never want to know these ids, nor any more
    when the build is over (`catch_up`)."""

    def __init__(
        self,
        plan: Plan,
        solver: Solver,
        say: Callable[[ProgressMessage], None],
        keep_up: Callable[[], Awaitable[None]],
        id_after: Callable[[Stage, Step], str],
        *,
        room: Room | None = None,
        say_later: Callable[[Late], None] | None = None,
    ) -> None:
        self._room = room or Room(_KEPT_OF_ALL)
        self._say_later = say_later or self._say_now
        self._is_wanted = say_later is None
        self._solver = solver
        self._say = say
        self._keep_up = keep_up
        self._id_after = id_after
        self._steps = [(stage, step) for stage in plan.stages for step in stage.steps]
        self._number = 0
        self._is_headed = False
        self._failed: int | None = None
        self._kept = 0
        self._told: dict[Vertex, _Told] = defaultdict(_Told)

    # -- what operations report

    def begun(self, vertex: Vertex) -> None:
        """Steps are told in the order of the file."""

    def running(self, vertex: Vertex, cid: str) -> None:
        """A step's container was made."""
        self._tell(vertex, f" ---> Running in {cid[:_SHORT]}\n")

    async def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """A step has written something; returns when there is room for more."""
        told = self._told[vertex]
        text = told.decoders[stream].decode(data)
        if told.begun:
            self._tell(vertex, text)
            await self._keep_up()
        elif not told.is_clipped:
            told.size += len(data) + _PIECE_BYTES
            self._kept += len(data) + _PIECE_BYTES
            is_much = told.size > _KEPT or self._kept > _KEPT_OF_ALL
            told.is_clipped = is_much or not self._room.take(len(data) + _PIECE_BYTES)
            told.held += 0 if told.is_clipped else len(data) + _PIECE_BYTES
            self._tell(vertex, _CLIPPED if told.is_clipped else text)

    def removed(self, vertex: Vertex, cid: str) -> None:
        """A step's container is gone."""
        self._tell(vertex, f" ---> Removed intermediate container {cid[:_SHORT]}\n")

    def _tell(self, vertex: Vertex, text: str) -> None:
        told = self._told[vertex]
        if told.begun:
            self._say(stream_line(text))
        else:
            told.waiting.append(text)

    def close(self) -> None:
        """Keep nothing any more: the build is over."""
        for told in self._told.values():
            self._room.give(told.held)
            told.held = 0

    # -- what the solver reports

    async def changed(self) -> None:
        """Something has happened: tell what is to be told by now."""
        if self._is_wanted or not self._solver.done:
            await self.catch_up()

    async def catch_up(self) -> None:
        """Tell what is to be told by now; others have their turn between steps: a step's id costs as much as the
        image's history is long."""
        slices = Slices()
        settled = self._solver.settled()
        while self._number < len(self._steps):
            stage, step = self._steps[self._number]
            self._head(step)
            state = self._solver.state(step.vertex)
            if step.vertex not in settled or state is State.FAILED:
                return
            if state is State.CANCELLED:  # with another step that failed: what that has said is not lost
                failed = self._failed_number()
                if failed == self._number:
                    return
                if step.vertex.inputs or failed == len(self._steps):  # else a base image: it is told up to there
                    self._number = failed
                    self._is_headed = False
                    continue
            if self._is_own(step) and self._solver.is_cached(step.vertex):
                self._say(stream_line(" ---> Using cache\n"))
            self._say_later(partial(self._id_line, stage, step))
            self._number += 1
            self._is_headed = False
            await slices.give_way()

    def _id_line(self, stage: Stage, step: Step) -> ProgressMessage | None:
        found = self._id_after(stage, step)
        return stream_line(f" ---> {found.removeprefix('sha256:')[:_SHORT]}\n") if found else None

    def _say_now(self, make: Late) -> None:
        message = make()
        if message is not None:
            self._say(message)

    def _failed_number(self) -> int:
        """Which step has failed, itself or in what it alone needs, such as a download; how many there are if none has.
        Asked when the build is over, and found out once."""
        if self._failed is None:
            steps = {step.vertex for _stage, step in self._steps}
            numbers = range(self._number, len(self._steps))
            self._failed = next((n for n in numbers if self._has_failed(n, steps)), len(self._steps))
        return self._failed

    def _has_failed(self, number: int, steps: Container[Vertex]) -> bool:
        todo = [self._steps[number][1].vertex]
        for vertex in todo:
            if self._solver.state(vertex) is State.FAILED:
                return True
            todo += [below for below in vertex.inputs[1:] if below not in steps]
        return False

    def _head(self, step: Step) -> None:
        if self._is_headed:
            return
        self._is_headed = True
        self._say(stream_line(f"Step {self._number + 1}/{len(self._steps)} : {step.text}"))
        self._say(stream_line("\n"))
        told = self._told[step.vertex]
        told.begun = True
        for text in told.waiting:
            self._say(stream_line(text))
        told.waiting.clear()
        self._kept -= told.size
        self._room.give(told.held)
        told.held = 0

    @staticmethod
    def _is_own(step: Step) -> bool:
        """Whether the step did something that could have been cached."""
        return step.changes_files


def ending(image_id: str, names: Sequence[str], warnings: Sequence[str], *, quiet: bool) -> Iterator[ProgressMessage]:
    """The last words of a build that succeeded; a quiet one says its image's id alone."""
    if quiet:
        yield ProgressMessage(aux={"ID": image_id})
        yield stream_line(f"{image_id}\n")
        return
    for warning in warnings:
        yield stream_line(f"[Warning] {warning}\n")
    yield ProgressMessage(aux={"ID": image_id})
    yield stream_line(f"Successfully built {image_id.removeprefix('sha256:')[:_SHORT]}\n")
    for name in names:
        yield stream_line(f"Successfully tagged {name}\n")
