"""POST /build: a tar and a query become an image, told as the classic builder tells of it. Daemon's loop.

What is wrong with the request or the Dockerfile fails before the first message, as a status; everything later is the
stream's last message, as clients of the classic builder expect. Closing the stream cancels the build.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial

from corten.build.classic_stream import ClassicStream, ending
from corten.build.diagnosis import FailedStep, diagnosis, findings
from corten.build.dockerfile.error import ParseError
from corten.build.face import IdAfter, Offers, Watcher
from corten.build.offers import ClassicOffers
from corten.build.ops.kept import KeptStep
from corten.build.ops.run import StepFailed
from corten.build.options import BuildOptions
from corten.build.outputs import Outputs, send
from corten.build.plan import Plan
from corten.build.service import BuildService, Job, Result
from corten.build.solver import Solver
from corten.build.sources.source import BuildSource
from corten.build.sources.tar import TarSource
from corten.build.status_board import StatusBoard
from corten.build.status_face import StatusFace
from corten.build.status_names import reason_text
from corten.build.status_told import ToldSource, exporting, telling
from corten.engine.events import Events
from corten.engine.images.progress import Progress, stream
from corten.engine.images.spool import Spool
from corten.errors import CortenError
from corten.lib import blocking
from corten.lib.disk_full import words
from corten.spec import reference as references
from corten.spec.docker.lint import LintWarning, SourceFile
from corten.spec.docker.progress import ErrorDetail, ProgressMessage, failure
from corten.spec.reference import InvalidReference, Reference

_KEPT = 256  # messages
Bring = Callable[[Progress], AbstractAsyncContextManager[BuildSource]]  # the source of one build, for its while


class ClassicBuilds:
    """The classic API; one a daemon."""

    def __init__(self, *, service: BuildService, outputs: Outputs, spool: Spool, events: Events) -> None:
        self._service = service
        self._outputs = outputs
        self._spool = spool
        self._events = events

    def build(self, options: BuildOptions, body: AsyncIterator[bytes]) -> AsyncGenerator[ProgressMessage, None]:
        """Build what the tar `body` holds. Raises InvalidReference at once for wrong names."""

        @asynccontextmanager
        async def received(progress: Progress) -> AsyncIterator[BuildSource]:
            file = await self._spool.receive(body, progress)
            try:
                yield TarSource(file, options.dockerfile, progress)
            finally:
                await blocking.run(file.close)  # which frees what it has on disk

        return self.stream(options, received, ClassicOffers(options.credentials))

    def stream(self, options: BuildOptions, bring: Bring, offers: Offers) -> AsyncGenerator[ProgressMessage, None]:
        """Build what a source has, told in the classic stream. Raises InvalidReference at once for wrong names."""
        names = [image_name(name) for name in options.names]

        async def build(progress: Progress) -> None:
            async with bring(progress) as source:
                await self._build(options, names, source, offers, progress)

        return stream(build)

    async def _build(
        self,
        options: BuildOptions,
        names: Sequence[Reference],
        source: BuildSource,
        offers: Offers,
        progress: Progress,
    ) -> None:
        if options.status:
            await self._told_as_status(options, names, source, offers, progress)
            return
        kept: deque[ProgressMessage] = deque(maxlen=_KEPT)  # of a quiet build, which tells it if it fails
        face = _ClassicFace(options, progress, kept.append if options.quiet else progress.say)
        job = Job(options=options, source=source, offers=offers, face=face)
        try:
            if options.call:
                progress.say(ProgressMessage(aux={"Call": await self._service.call(job)}))
            elif options.is_check:
                await self._service.check(job)
            else:
                image_id, warnings = await self._solved(job, names, progress, nullcontext)
                tags = [name.familiar for name in names] if not options.output else []
                for message in ending(image_id, tags, warnings, quiet=options.quiet):
                    progress.say(message)
        except (CortenError, OSError) as error:
            if face.source is None:
                raise
            for message in kept:
                progress.say(message)
            if options.diagnostics:
                progress.say(diagnosis(error, face.source))
            if isinstance(error, ParseError):
                raise
            progress.say(_failure(error))

    async def _told_as_status(
        self,
        options: BuildOptions,
        names: Sequence[Reference],
        source: BuildSource,
        offers: Offers,
        progress: Progress,
    ) -> None:
        """The same, for clients that show progress as BuildKit's do; with a failed step kept where they ask for it."""
        board = StatusBoard()
        face = _StatusFace(board, options, progress)
        kept = KeptStep() if options.keep_failed else None
        told = ToldSource(source, face, options.dockerfile or "Dockerfile")
        job = Job(options=options, source=told, offers=offers, face=face, kept=kept)
        try:
            async with telling(board, progress):
                try:
                    if options.call:
                        progress.say(ProgressMessage(aux={"Call": await self._service.call(job)}))
                    elif options.is_check:
                        await self._service.check(job)
                    else:
                        full_names = [str(name) for name in names]
                        exported = partial(exporting, face, options, full_names)
                        image_id, _ = await self._solved(job, names, progress, exported)
                        progress.say(ProgressMessage(aux={"ID": image_id}))
                except (CortenError, OSError) as error:
                    face.failed(error, error.reason if isinstance(error, FailedStep) else None)
                    raise
        except (CortenError, OSError) as error:
            await self._explain(error, face, kept, progress)
        finally:
            if kept is not None:
                await kept.close()

    @staticmethod
    async def _explain(
        error: CortenError | OSError, face: _StatusFace, kept: KeptStep | None, progress: Progress
    ) -> None:
        """Say why the build has failed; a client that looks at what is left hears the end of it afterwards."""
        if face.source is None:
            raise error
        progress.say(diagnosis(error, face.source))
        if kept is not None and kept.container:
            progress.say(ProgressMessage(aux={"Shell": {"Container": kept.container}}))
            await kept.shell_ended()
        failed = face.failed_vertex
        reason = error.reason if isinstance(error, FailedStep) else error
        progress.say(failure(reason_text(failed, reason)))

    async def _solved(
        self,
        job: Job,
        names: Sequence[Reference],
        progress: Progress,
        exported: Callable[[str], AbstractContextManager[object]],
    ) -> tuple[str, Sequence[str]]:
        """Build, and put the result where it is wanted, within what `exported` gives for its id; returns that and the
        plan's warnings."""
        async with self._service.solved(job, progress) as result:
            with exported(result.built.id):
                stored = await self._put_out(job.options, result, names, progress)
        for name in stored:
            self._events.publish("image", "tag", result.built.id, {"name": name.familiar})
        return result.built.id, result.plan.warnings

    async def _put_out(
        self, options: BuildOptions, result: Result, names: Sequence[Reference], progress: Progress
    ) -> Sequence[Reference]:
        """Store the result, or send it as a tar; returns the names that an image has got here."""
        if not options.output:
            await self._outputs.store(result.built, names, result.lease)
            return names
        if options.output == "archive":
            await send(await self._outputs.archive(result.built, names, result.lease), progress)
        else:
            await send(self._outputs.files(result.built), progress)
        return ()


class _ClassicFace:
    """Tells of one build in the classic stream; `say` sends a message."""

    def __init__(self, options: BuildOptions, progress: Progress, say: Callable[[ProgressMessage], None]) -> None:
        self._options = options
        self._progress = progress
        self._say = say
        self.source: SourceFile | None = None

    def begun(self, source: SourceFile) -> None:
        """Keep the Dockerfile, for what may fail."""
        self.source = source

    def pulling(self, message: ProgressMessage) -> None:
        """As `docker pull` has it."""
        self._say(message)

    def checked(self, found: Sequence[LintWarning], source: SourceFile) -> None:
        """For clients that ask for it."""
        if self._options.diagnostics:
            self._progress.say(findings(found, source))

    def watch(self, plan: Plan, solver: Solver, id_after: IdAfter) -> Watcher:
        """`Step 1/5 : ...`."""
        return ClassicStream(plan, solver, self._say, self._progress.keep_up, id_after)


class _StatusFace(StatusFace):
    """Tells of one build by way of a board, and of what the checks found for whoever asks for it."""

    def __init__(self, board: StatusBoard, options: BuildOptions, progress: Progress) -> None:
        super().__init__(board)
        self._options = options
        self._progress = progress

    def checked(self, found: Sequence[LintWarning], source: SourceFile) -> None:
        """As warnings of the status, and as the document that has all of it."""
        super().checked(found, source)
        if self._options.diagnostics:
            self._progress.say(findings(found, source))


def image_name(text: str) -> Reference:
    """A name for the image. Raises InvalidReference."""
    name = references.parse(text).with_default_tag()
    if name.digest is not None:
        raise InvalidReference("refusing to create a tag with a digest reference")
    return name


def _failure(error: Exception) -> ProgressMessage:
    """The last message of a build that failed."""
    text = words(error)
    if isinstance(error, FailedStep):
        error = error.reason
    code = error.exit_code if isinstance(error, StepFailed) else 0
    return ProgressMessage(error_detail=ErrorDetail(code=code, message=text), error=text)
