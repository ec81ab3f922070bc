"""POST /build: a tar and a query become an image, told as the classic builder tells of it. Daemon's loop.

What is wrong with the request or the Dockerfile fails before the first message, as a status; everything later is the
stream's last message, as clients of the classic builder expect. Closing the stream cancels the build.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from corten.build.classic_stream import ClassicStream, ending
from corten.build.diagnosis import FailedStep, diagnosis, findings
from corten.build.dockerfile.error import ParseError
from corten.build.face import IdAfter, Watcher
from corten.build.fetching import Fetching
from corten.build.offers import ClassicOffers
from corten.build.ops.run import StepFailed
from corten.build.options import BuildOptions
from corten.build.outputs import Outputs, send
from corten.build.plan import Plan
from corten.build.service import BuildService, Job, Result
from corten.build.solver import Solver
from corten.build.sources.remote import RemoteSource
from corten.build.sources.source import DOCKERFILE_LIMIT
from corten.build.sources.tar import TarSource
from corten.engine.containers.create import egress_rules
from corten.engine.events import Events
from corten.engine.images.progress import Progress, stream
from corten.engine.images.spool import Spool
from corten.errors import CortenError, InvalidArgument
from corten.lib import blocking
from corten.lib.disk_full import words
from corten.spec import reference as references
from corten.spec.docker.lint import LintWarning, SourceFile
from corten.spec.docker.progress import ErrorDetail, ProgressMessage
from corten.spec.reference import InvalidReference, Reference

_KEPT = 256  # messages
_FROM_BODY = "-"  # Corten's own: the body is the Dockerfile of a context that is somewhere else
_KEEP_GIT_DIR = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"


class ClassicBuilds:
    """The classic API; one a daemon."""

    def __init__(
        self, *, service: BuildService, outputs: Outputs, spool: Spool, fetching: Fetching, events: Events
    ) -> None:
        self._service = service
        self._outputs = outputs
        self._spool = spool
        self._fetching = fetching
        self._events = events

    def build(self, options: BuildOptions, body: AsyncIterator[bytes]) -> AsyncGenerator[ProgressMessage, None]:
        """Build what the tar `body` holds, or what is at `options.remote`. Raises InvalidReference at once for wrong
        names."""
        names = [image_name(name) for name in options.names]
        return stream(lambda progress: self._build(options, names, body, progress))

    async def _build(
        self, options: BuildOptions, names: Sequence[Reference], body: AsyncIterator[bytes], progress: Progress
    ) -> None:
        kept: deque[ProgressMessage] = deque(maxlen=_KEPT)  # of a quiet build, which tells it if it fails
        face = _ClassicFace(options, progress, kept.append if options.quiet else progress.say)
        source = await self._source(options, body, progress)
        job = Job(
            options=options,
            source=source,
            offers=ClassicOffers(options.credentials),
            face=face,
        )
        try:
            if options.is_check:
                await self._service.check(job)
                return
            async with self._service.solved(job, progress) as result:
                stored = await self._put_out(options, result, names, progress)
            built = result.built
            for name in stored:
                self._events.publish("image", "tag", built.id, {"name": name.familiar})
            tags = [name.familiar for name in stored]
            for message in ending(built.id, tags, result.plan.warnings, quiet=options.quiet):
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
        finally:
            await blocking.run(source.close)  # which frees what it has on disk

    async def _source(
        self, options: BuildOptions, body: AsyncIterator[bytes], progress: Progress
    ) -> TarSource | RemoteSource:
        """Where the context is; to be closed."""
        if not options.remote:
            return TarSource(await self._spool.receive(body, progress), options.dockerfile, progress)
        text = await _small(body) if options.dockerfile == _FROM_BODY else None
        return RemoteSource(
            options.remote,
            options.dockerfile,
            fetching=self._fetching,
            spool=self._spool,
            progress=progress,
            limited=egress_rules(options.host) is not None,
            text=text,
            keeps_git_dir=options.build_args.get(_KEEP_GIT_DIR) in ("1", "true"),
        )

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


async def _small(body: AsyncIterator[bytes]) -> bytes:
    """A Dockerfile. Raises InvalidArgument for one that is too large."""
    text = bytearray()
    async for chunk in body:
        text += chunk
        if len(text) > DOCKERFILE_LIMIT:
            raise InvalidArgument(f"the Dockerfile has more than {DOCKERFILE_LIMIT} bytes")
    return bytes(text)


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
