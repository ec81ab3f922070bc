"""What is recorded of a build, gathered while it is there: request, steps, output, error, what its result is made of.

Daemon's loop; the bytes are put together in a thread when the build is over. Provenance is always recorded, as BuildKit
does (in its mode `max`, of the version 0.2 that all clients read): `--metadata-file` and `history inspect` show it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from corten.build.attestations.statement import Predicate
from corten.build.buildkit.history.history import History
from corten.build.buildkit.history.redaction import written_down
from corten.build.buildkit.jobs import BuildJob
from corten.build.buildkit.messages.control import SolveRequest
from corten.build.buildkit.messages.history import Descriptor, Record, ResultInfo
from corten.build.buildkit.messages.types import Attributed, timestamp
from corten.build.buildkit.status_messages import status_response
from corten.build.exporters.responses import DESCRIPTOR
from corten.build.finisher import Finisher
from corten.build.location import redacted
from corten.build.status.board import StatusBoard
from corten.engine.images.library import ImageLibrary
from corten.errors import CortenError
from corten.lib import blocking, codec
from corten.lib.grpc.status import Code, GrpcError, Status
from corten.lib.protobuf.wire import encode
from corten.spec import oci_image
from corten.spec.digest import digest_of
from corten.spec.oci_image import MANIFEST_LIMIT, Index, Manifest

_LOG = logging.getLogger("corten.build")
_STATUS = "application/vnd.buildkit.status.v0"
_ERROR = "application/vnd.googeapis.google.rpc.status+proto"  # spelled as BuildKit spells it
_IN_TOTO = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"
_INDEXES = (oci_image.OCI_INDEX, oci_image.DOCKER_INDEX)
_DOCUMENTS = 256  # of one result
_CANCELLED = "context canceled"
_MESSAGE = 8 << 10  # characters of an error in the record itself
_NAME = 128  # of a frontend or an exporter, as clients say them
_EXPORTERS = 32


class Recorder:
    """One a daemon."""

    def __init__(self, *, history: History, finisher: Finisher, library: ImageLibrary) -> None:
        self._history = history
        self._finisher = finisher
        self._library = library

    @asynccontextmanager
    async def recording(self, request: SolveRequest) -> AsyncIterator[Recording]:
        """One build, from its request to its end; it is recorded unless clients do it for themselves alone."""
        recording = Recording(request, history=self._history, finisher=self._finisher, library=self._library)
        try:
            yield recording
        except BaseException as error:
            recording.failed(error)
            raise
        finally:
            recording.end()


class Recording:
    """One build's."""

    def __init__(self, request: SolveRequest, *, history: History, finisher: Finisher, library: ImageLibrary) -> None:
        self._history = history
        self._finisher = finisher
        self._library = library
        self._is_internal = request.internal
        self._board: StatusBoard | None = None
        self._blobs: dict[str, bytes] = {}
        exporters = request.exporters or ([Attributed(type=request.old_exporter)] if request.old_exporter else [])
        self._record = Record(
            ref=request.ref,
            frontend=request.frontend[:_NAME],
            frontend_attrs=written_down(request.frontend_attrs),
            exporters=[
                Attributed(type=one.type[:_NAME], attrs=written_down(one.attrs)) for one in exporters[:_EXPORTERS]
            ],
            created_at=timestamp(datetime.now(UTC)),
        )

    def begun(self, job: BuildJob) -> None:
        """The build runs."""
        if not self._is_internal:
            self._board = job.board
            self._history.begun(self._record)

    async def done(self, job: BuildJob, answers: Mapping[str, str]) -> None:
        """It has gone well, whatever happens here; its result is still there."""
        if self._board is None:
            return
        try:
            await self._gather(job, answers)
        except (CortenError, OSError) as error:
            _LOG.warning("the record of a build is not complete: %s", error)

    async def _gather(self, job: BuildJob, answers: Mapping[str, str]) -> None:
        self._record.exporter_response = written_down(answers)
        infos: dict[str, ResultInfo] = {}
        found = job.exported
        if found is not None:
            work, solved, progress = found
            for platform, predicate in await self._finisher.recorded(work.options, solved, progress):
                infos[platform] = ResultInfo(attestations=[self._said(predicate)])
        several = len(infos) > 1
        self._record.results = infos if several else {}
        self._record.result = next(iter(infos.values()), None) if not several else None
        roots = await blocking.run(self._roots, job.answers)
        if roots:
            self._record.result = self._record.result or ResultInfo()
            self._record.result.results = roots

    def failed(self, error: BaseException) -> None:
        """It has not."""
        if isinstance(error, GrpcError):
            status = Status(code=int(error.status), message=redacted(error.message), details=list(error.details))
        elif isinstance(error, asyncio.CancelledError):
            status = Status(code=Code.CANCELLED, message=_CANCELLED)
        elif isinstance(error, CortenError):
            status = Status(code=Code.UNKNOWN, message=redacted(error.message))
        else:
            status = Status(code=Code.INTERNAL, message="an internal error; the daemon's log has more")
        self._record.error = Status(code=status.code, message=status.message[:_MESSAGE])
        self._record.external_error = self._blob(encode(status), _ERROR)

    def end(self) -> None:
        """Nothing more comes: keep it."""
        board = self._board
        if board is None:
            return
        record = self._record
        record.completed_at = timestamp(datetime.now(UTC))
        record.total_steps, record.completed_steps, record.cached_steps = board.counts()
        record.warnings = board.warnings

        def finish() -> Mapping[str, bytes]:
            record.logs = self._blob(b"".join(log_of(board)), _STATUS)
            return self._blobs

        self._history.ended(record, finish)

    def _said(self, predicate: Predicate) -> Descriptor:
        return self._blob(codec.encode(predicate.document), _IN_TOTO, {_PREDICATE: predicate.type})

    def _blob(self, raw: bytes, media_type: str, annotations: Mapping[str, str] | None = None) -> Descriptor:
        digest = digest_of(raw)
        self._blobs[digest] = raw
        return Descriptor(media_type=media_type, digest=digest, size=len(raw), annotations=dict(annotations or {}))

    def _roots(self, answers: Sequence[Mapping[str, str]]) -> dict[int, Descriptor]:
        """What each exporter has made, by its number, with the documents that it names. Blocking."""
        found = {}
        for number, answer in enumerate(answers):
            if DESCRIPTOR in answer:
                root = codec.decode(oci_image.Descriptor, base64.b64decode(answer[DESCRIPTOR]))
                documents = dict(_documents(root, lambda digest: self._library.read_blob(digest, MANIFEST_LIMIT)))
                self._blobs |= documents
                if root.digest in documents:
                    found[number] = Descriptor(media_type=root.media_type, digest=root.digest, size=root.size)
        return found


def log_of(board: StatusBoard) -> Iterator[bytes]:
    """What a build that is over has told, as BuildKit writes it down: each message behind its length."""
    number, is_all = 0, False
    while not is_all:
        message, number, is_all = board.since(number)
        if message is not None:
            raw = encode(status_response(message))
            yield struct.pack("<I", len(raw)) + raw


def messages_of(log: bytes) -> Iterator[bytes]:
    """The messages of it."""
    at = 0
    while at + 4 <= len(log):
        (size,) = struct.unpack_from("<I", log, at)
        yield log[at + 4 : at + 4 + size]
        at += 4 + size


def _documents(root: oci_image.Descriptor, read: Callable[[str], bytes]) -> Iterator[tuple[str, bytes]]:
    """A manifest or an index with all that it names but layers, as far as it is here."""
    waiting, seen = [root], 0
    while waiting and seen < _DOCUMENTS:
        one = waiting.pop()
        seen += 1
        try:
            raw = read(one.digest)
            yield one.digest, raw
            if one.media_type in _INDEXES:
                waiting += codec.decode(Index, raw).manifests or []
            elif one.media_type in (oci_image.OCI_MANIFEST, oci_image.DOCKER_MANIFEST):
                manifest = codec.decode(Manifest, raw)
                waiting.append(manifest.config)
                waiting += [layer for layer in manifest.layers if layer.media_type == _IN_TOTO]
        except (CortenError, OSError):  # such as a manifest of another platform that is elsewhere
            continue
