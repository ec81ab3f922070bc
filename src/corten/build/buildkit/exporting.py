"""What becomes of a build's result for a buildx client: an image here, files or a tar sent to it. Daemon's loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing

from corten.build.buildkit.jobs import BuildJob
from corten.build.buildkit.messages.gateway import Result
from corten.build.buildkit.sessions import Sessions
from corten.build.caching.layout import OpenBlob
from corten.build.exporters.export import Exporters
from corten.build.exporters.request import ArchiveExport, CacheOnly, Export, FilesExport, ImageExport
from corten.build.exporters.responses import CONFIG_DIGEST
from corten.build.exporters.result import Exportable, Files
from corten.build.finisher import Finisher
from corten.build.service import Job
from corten.build.service import Result as Solved
from corten.build.session.client import SessionClient
from corten.build.session.sender import send_tar, send_tree
from corten.build.session.stores import send_blobs
from corten.build.status.face import Activity, StatusFace
from corten.build.status.names import EXPORT
from corten.engine.events import Events
from corten.engine.images.progress import Progress
from corten.engine.images.settled import never_half_done
from corten.errors import CortenError, InvalidArgument
from corten.lib import blocking
from corten.lib.disk_full import words
from corten.lib.grpc.status import Code, GrpcError

_STEPS = {"local": "exporting to client directory", "tar": "exporting to client tarball"}
_LINES = {"local": "copying files", "tar": "sending tarball"}
_ALWAYS_INDEX = "BUILDKIT_MULTI_PLATFORM"
_to_its_end = never_half_done(blocking.run)


class Exporting:
    """One a daemon."""

    def __init__(self, *, exporters: Exporters, finisher: Finisher, sessions: Sessions, events: Events) -> None:
        self._exporters = exporters
        self._finisher = finisher
        self._sessions = sessions
        self._events = events

    async def export(self, job: BuildJob, result: Result) -> dict[str, str]:
        """Bring what a client returned to the outputs; what the exporters answer. Raises GrpcError."""
        name = _ref(result)
        if not name:
            return {}
        solving = job.solves.get(name.partition("/")[0])
        found = solving.result if solving is not None else None
        if found is None:
            raise GrpcError(Code.NOT_FOUND, f"no such ref: {name[:64]}")
        work, solved, progress = job.exported = found
        exports = [export for export in work.options.exports if not isinstance(export, CacheOnly)]
        merged = await self._put_out(job, exports, work, solved, progress) if exports else {}
        try:
            merged |= await solved.carry()
        except CortenError as error:
            raise GrpcError(Code.UNKNOWN, words(error)) from error
        return merged

    async def _put_out(
        self, job: BuildJob, exports: Sequence[Export], work: Job, solved: Solved, progress: Progress
    ) -> dict[str, str]:
        options, face = work.options, work.face
        assert isinstance(face, StatusFace)
        client = SessionClient(await self._sessions.get(job.request.session))
        with face.activity(_step(exports)) as activity:
            try:
                exportable = Exportable(
                    images=await self._finisher.images(options, solved, progress),
                    lease=solved.lease,
                    offers=work.offers,
                    epoch_s=solved.epoch_s,
                    always_index=options.build_args.get(_ALWAYS_INDEX) in ("1", "true"),
                )
                receiver = _ToClient(client, activity, progress)
                activity.progress(_line(exports[0]), 0)
                answers = await self._exporters.export(exportable, options.exports, receiver, progress)
            except (CortenError, OSError) as error:
                raise error if isinstance(error, GrpcError) else GrpcError(Code.UNKNOWN, words(error)) from error
            job.answers = answers
            merged = {key: value for answer in answers for key, value in answer.items()}
            self._tell(exports, merged, activity)
        return merged

    def _tell(self, exports: Sequence[Export], answer: dict[str, str], activity: Activity) -> None:
        """The lines of an image, and the event of each name that it has got."""
        image = answer.get(CONFIG_DIGEST, "")
        stored = [export for export in exports if isinstance(export, ImageExport) and export.store]
        if image and stored:
            activity.progress(f"writing image {image}", 0, done=True)
        for export in stored:
            for name in () if export.by_digest else export.names:
                activity.progress(f"naming to {name}", 0, done=True)
                self._events.publish("image", "tag", image, {"name": name.familiar})


def _ref(result: Result) -> str:
    """What a result stands for; empty for nothing."""
    if result.ref is not None:
        return result.ref.id
    if result.refs is not None:
        names = {ref.id.partition("/")[0] for ref in result.refs.refs.values()}
        if len(names) > 1:
            raise InvalidArgument("results of several solves cannot be exported together")
        return next(iter(names), "")
    return result.old_ref


def _step(exports: Sequence[Export]) -> str:
    first = exports[0]
    if isinstance(first, FilesExport):
        return _STEPS[first.kind]
    if isinstance(first, ArchiveExport):
        return f"exporting to {first.kind} image format"
    return EXPORT


def _line(export: Export) -> str:
    return _LINES[export.kind] if isinstance(export, FilesExport) else "exporting layers"


class _ToClient:
    """Sends to the client's outputs (`result.Receiver`)."""

    def __init__(self, client: SessionClient, activity: Activity, progress: Progress) -> None:
        self._progress = progress
        self._client = client
        self._activity = activity

    async def archive(self, number: int, export: Export, pieces: AsyncIterator[bytes]) -> None:  # noqa: ARG002
        """One tar."""
        async with aclosing(self._counted("sending tarball", pieces)) as counted:
            await send_tar(self._client, number, counted)

    async def blobs(self, number: int, export: Export, blobs: Sequence[tuple[str, OpenBlob]]) -> None:  # noqa: ARG002
        """Of an image layout."""
        await send_blobs(self._client, blobs, self._progress)

    async def files(self, number: int, export: Export, files: Files) -> None:
        """A directory, or a tar of files."""
        if not isinstance(export, FilesExport) or export.kind == "tar":
            await self.archive(number, export, files.tar())
            return
        with_tree = ExitStack()
        try:
            await send_tree(self._client, number, await _to_its_end(with_tree.enter_context, files.tree()))
        finally:
            await _to_its_end(with_tree.close)

    async def _counted(self, line: str, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        total = 0
        try:
            async for piece in pieces:
                total += len(piece)
                self._activity.progress(line, total)
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
