"""POST /build: a tar and a query become an image, told as the classic builder tells of it. Daemon's loop.

What is wrong with the request or the Dockerfile fails before the first message, as a status; everything later is the
stream's last message, as clients of the classic builder expect. Closing the stream cancels the build.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from corten.build.caching.directories import Directories, NoDirectories
from corten.build.classic_face import ClassicFace
from corten.build.classic_stream import Room, ending
from corten.build.diagnosis import FailedStep, diagnosis, failure_at, findings
from corten.build.dockerfile.error import ParseError
from corten.build.exporters.export import Exporters
from corten.build.exporters.request import Export, ImageExport, check_names, image_name
from corten.build.exporters.responses import CONFIG_DIGEST, IMAGE_ID, metadata
from corten.build.exporters.result import Exportable, Files, PlatformImage
from corten.build.face import Offers
from corten.build.fetching import Fetching
from corten.build.finisher import Finisher
from corten.build.offers import ClassicOffers
from corten.build.ops.failed_step import KeptStep
from corten.build.ops.run import StepFailed
from corten.build.options import BuildOptions
from corten.build.plan import Plan
from corten.build.service import BuildService, Job, Result
from corten.build.sources.remote import RemoteSource, keeps_git_dir
from corten.build.sources.source import DOCKERFILE_LIMIT, BuildSource
from corten.build.sources.tar import TarSource
from corten.build.status.board import StatusBoard
from corten.build.status.face import Failure, StatusFace
from corten.build.status.told import ToldSource, exporting, telling
from corten.engine.containers.create import egress_rules
from corten.engine.events import Events
from corten.engine.images.progress import Progress, stream
from corten.engine.images.spool import Spool
from corten.errors import CortenError, InvalidArgument
from corten.lib.disk_full import words
from corten.spec.docker.lint import LintWarning, SourceFile
from corten.spec.docker.progress import ErrorDetail, ProgressMessage, failure
from corten.spec.reference import Reference

_KEPT_OUTPUT = 64 << 20  # bytes, of all builds together
_PIECE = 64 << 10
_FROM_BODY = "-"  # Corten's own: the body is the Dockerfile of a context that is somewhere else
Bring = Callable[[Progress], AbstractAsyncContextManager[BuildSource]]  # the source of one build, for its while


@dataclass(frozen=True, slots=True)
class Client:
    """What the client of one build has brought."""

    source: BuildSource
    offers: Offers
    directories: Directories


class ClassicBuilds:
    """The classic API; one a daemon."""

    def __init__(
        self,
        *,
        service: BuildService,
        finisher: Finisher,
        exporters: Exporters,
        spool: Spool,
        fetching: Fetching,
        events: Events,
    ) -> None:
        self._service = service
        self._finisher = finisher
        self._exporters = exporters
        self._spool = spool
        self._fetching = fetching
        self._events = events
        self._room = Room(_KEPT_OUTPUT)

    def build(self, options: BuildOptions, body: AsyncIterator[bytes]) -> AsyncGenerator[ProgressMessage, None]:
        """Build what the tar `body` holds, or what is at `options.remote`. Raises InvalidReference, InvalidArgument at
        once for wrong names."""
        offers = ClassicOffers(options.credentials)

        @asynccontextmanager
        async def received(progress: Progress) -> AsyncIterator[BuildSource]:
            source: TarSource | RemoteSource
            if options.remote:
                text = await _small(body) if options.dockerfile == _FROM_BODY else None
                source = self.remote(options, text, offers, progress)
            else:
                source = TarSource(await self._spool.receive(body, progress), options.dockerfile, progress)
            try:
                yield source
            finally:
                await source.close()

        return self.stream(options, received, offers)

    def remote(self, options: BuildOptions, text: bytes | None, offers: Offers, progress: Progress) -> RemoteSource:
        """The source of what is at `options.remote`, with this Dockerfile instead of its own; to be closed."""
        return RemoteSource(
            options.remote,
            options.dockerfile,
            fetching=self._fetching,
            spool=self._spool,
            progress=progress,
            offers=offers,
            limited=egress_rules(options.host) is not None,
            text=text,
            keeps_git_dir=keeps_git_dir(options.build_args),
        )

    def stream(
        self, options: BuildOptions, bring: Bring, offers: Offers, directories: Directories | None = None
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Build what a source has; `directories` of the client hold caches.

        Raises InvalidReference, InvalidArgument at once for wrong names.
        """
        names = [image_name(name) for name in options.names]
        check_names(options.exports, names)
        how = self._as_status if options.status else self._in_words

        async def build(progress: Progress) -> None:
            async with bring(progress) as source:
                await how(Client(source, offers, directories or NoDirectories()), options, names, progress)

        return stream(build)

    async def _in_words(
        self, client: Client, options: BuildOptions, names: Sequence[Reference], progress: Progress
    ) -> None:
        """As the classic builder tells of it."""
        face = ClassicFace(options, progress, self._room)
        job = Job(
            options=options, source=client.source, offers=client.offers, face=face, directories=client.directories
        )
        try:
            if options.call:
                progress.say(ProgressMessage(aux={"Call": await self._service.call(job)}))
            elif options.is_check:
                await self._service.check(job)
            else:
                image_id, plan = await self._solved(job, names, progress, nullcontext, face.flush)
                tags = [name.familiar for name in stored_names(options.exports, names)]
                for message in ending(image_id, tags, plan.warnings, quiet=options.quiet):
                    progress.say(message)
        except (CortenError, OSError) as error:
            if face.source is None:
                raise
            await face.tell_kept()
            if options.diagnostics:
                progress.say(diagnosis(error, face.source))
            if isinstance(error, ParseError):
                raise
            progress.say(_failure(error))
        finally:
            face.close()

    async def _as_status(
        self, client: Client, options: BuildOptions, names: Sequence[Reference], progress: Progress
    ) -> None:
        """For clients that show progress as BuildKit's do; with a failed step kept where they ask for it."""
        board = StatusBoard()
        face = _StatusFace(board, options, progress)
        kept = KeptStep() if options.keep_failed else None
        job = Job(
            options=options,
            source=ToldSource(client.source, face),
            offers=client.offers,
            face=face,
            kept=kept,
            directories=client.directories,
        )
        failed: Failure | None = None
        try:
            async with telling(board, progress):
                try:
                    await self._told(job, names, face, progress)
                except (CortenError, OSError) as error:
                    failed = face.failed(error)
                    if face.source is None:
                        raise
            if failed is not None:
                await _explain(failed, face.source, kept, progress)
        finally:
            if kept is not None:
                await kept.close()

    async def _told(self, job: Job, names: Sequence[Reference], face: StatusFace, progress: Progress) -> None:
        options = job.options
        if options.call:
            progress.say(ProgressMessage(aux={"Call": await self._service.call(job)}))
        elif options.is_check:
            await self._service.check(job)
        else:
            full_names = [str(name) for name in stored_names(options.exports, names)]
            image_id, _ = await self._solved(job, names, progress, partial(exporting, face, options, full_names))
            progress.say(ProgressMessage(aux={"ID": image_id}))

    async def _solved(
        self,
        job: Job,
        names: Sequence[Reference],
        progress: Progress,
        exported: Callable[[], AbstractContextManager[Callable[[str], None] | None]],
        built: Callable[[], None] = lambda: None,
    ) -> tuple[str, Plan]:
        """Build, and put the result where it is wanted, within what `exported` gives, which is told the image's id;
        `built` is called when the steps are done. Returns the id, and the plan."""
        options = job.options
        async with self._service.solved(job, progress) as result:
            built()
            with exported() as told:
                images = await self._finisher.images(options, result, progress)
                answers = await self._put_out(job, result, images, names, progress)
                image_id = _image_id(answers) or images[0].built.id
                if told is not None:
                    told(image_id)
            await result.carry()
        for name in stored_names(options.exports, names):
            self._events.publish("image", "tag", image_id, {"name": name.familiar})
        if options.diagnostics:
            progress.say(ProgressMessage(aux={"Metadata": metadata(answers, images)}))
        return image_id, result.plan

    async def _put_out(
        self,
        job: Job,
        result: Result,
        images: Sequence[PlatformImage],
        names: Sequence[Reference],
        progress: Progress,
    ) -> list[dict[str, str]]:
        """Bring the result to all outputs; returns what the exporters answer."""
        options = job.options
        exportable = Exportable(
            images=images,
            lease=result.lease,
            offers=job.offers,
            names=tuple(names),
            epoch_s=result.epoch_s,
            always_index=options.build_args.get("BUILDKIT_MULTI_PLATFORM") in ("1", "true"),
        )
        several = len(options.exports) > 1
        return await self._exporters.export(exportable, options.exports, _Sender(progress, several=several), progress)


def stored_names(exports: Sequence[Export], names: Sequence[Reference]) -> list[Reference]:
    """The names that an image has got here."""
    stored = [export for export in exports if isinstance(export, ImageExport) and export.store and not export.by_digest]
    return list(dict.fromkeys(name for export in stored for name in export.names or names))


def _image_id(answers: Sequence[Mapping[str, str]]) -> str:
    """The id of the image that was put out: another one than was built where times were changed on the way."""
    keys = (CONFIG_DIGEST, IMAGE_ID)
    return next((answer[key] for answer in answers for key in keys if key in answer), "")


class _Sender:
    """Sends outputs as messages whose `aux` is `{"Output": "<base64>"}`, and `Number` which, when there are several;
    at most some 16 MiB of it wait (`result.Receiver`)."""

    def __init__(self, progress: Progress, *, several: bool) -> None:
        self._progress = progress
        self._several = several

    async def archive(self, number: int, export: Export, pieces: AsyncIterator[bytes]) -> None:  # noqa: ARG002
        """One tar."""
        try:
            async for piece in pieces:
                for start in range(0, len(piece), _PIECE):
                    await self._progress.keep_up()
                    aux: dict[str, object] = {"Output": piece[start : start + _PIECE]}
                    if self._several:
                        aux["Number"] = number
                    self._progress.say(ProgressMessage(aux=aux))
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    async def files(self, number: int, export: Export, files: Files) -> None:
        """As a tar, too."""
        await self.archive(number, export, files.tar())


class _StatusFace(StatusFace):
    """Tells of one build by way of a board, and of what the checks found for whoever asks for it."""

    def __init__(self, board: StatusBoard, options: BuildOptions, progress: Progress) -> None:
        super().__init__(board, filename=options.dockerfile, several="," in options.platform)
        self._options = options
        self._progress = progress

    def checked(self, found: Sequence[LintWarning], source: SourceFile) -> None:
        """As warnings of the status, and as the document that has all of it."""
        super().checked(found, source)
        if self._options.diagnostics:
            self._progress.say(findings(found, source))


async def _explain(failed: Failure, source: SourceFile | None, kept: KeptStep | None, progress: Progress) -> None:
    """Say why the build has failed; a client that looks at what is left hears the end of it afterwards."""
    if source is not None:
        progress.say(failure_at(failed.text, failed.lines, source))
    if kept is not None and kept.container:
        progress.say(ProgressMessage(aux={"Shell": {"Container": kept.container}}))
        await kept.shell_ended()
    progress.say(failure(failed.text))


async def _small(body: AsyncIterator[bytes]) -> bytes:
    """A Dockerfile. Raises InvalidArgument for one that is too large."""
    text = bytearray()
    async for chunk in body:
        text += chunk
        if len(text) > DOCKERFILE_LIMIT:
            raise InvalidArgument(f"the Dockerfile has more than {DOCKERFILE_LIMIT} bytes")
    return bytes(text)


def _failure(error: Exception) -> ProgressMessage:
    """The last message of a build that failed."""
    text = words(error)
    if isinstance(error, FailedStep):
        error = error.reason
    code = error.exit_code if isinstance(error, StepFailed) else 0
    return ProgressMessage(error_detail=ErrorDetail(code=code, message=text), error=text)
