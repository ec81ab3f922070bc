"""Directories of a buildx client that it offers as content stores: caches, read and written, OCI layouts that contexts
name, and exported layouts: blobs by digest.

The client itself keeps the directory's index: it says the digest of what a tag means, and is told the manifest's. What
is read is checked by who takes it. Daemon's loop; `blob` and `manifest` block, in threads.
Source: containerd's api/services/content/v1/content.proto; BuildKit's session/content.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, TypeVar

from corten.build.caching.layout import OpenBlob
from corten.build.caching.options import CacheExport, CacheImport
from corten.build.dockerfile.contexts import LayoutName
from corten.build.session.client import Client
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.sources import SourceOf
from corten.errors import DataLoss, NotFound
from corten.lib import blocking
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.message import Message
from corten.lib.protobuf.wire import decode, encode
from corten.registry.cancel import Cancel
from corten.registry.fetch import OnProgress, RawManifest, Sink
from corten.registry.session import OnRetry
from corten.spec.digest import digest_of, is_digest
from corten.spec.oci_image import MANIFEST_LIMIT, Descriptor

_SERVICE = "/containerd.services.content.v1.Content/"
_STORE = "buildkit-attachable-store-id"
_EXPORT = "export"
_PIECE = 1 << 20
_READ_S = 120.0  # for one read: threads and turns wait for it that other builds, and pulls, need, too
_STAT, _WRITE, _COMMIT = 0, 1, 2
M = TypeVar("M", bound=Message)


class ReadRequest(Message):
    """ReadContentRequest; `size` 0 is all."""

    digest: Annotated[str, 1] = ""
    offset: Annotated[int, 2] = 0
    size: Annotated[int, 3] = 0


class ReadResponse(Message):
    """ReadContentResponse."""

    offset: Annotated[int, 1] = 0
    data: Annotated[bytes, 2] = b""


class WriteRequest(Message):
    """WriteContentRequest."""

    action: Annotated[int, 1] = _STAT
    ref: Annotated[str, 2] = ""
    total: Annotated[int, 3] = 0
    expected: Annotated[str, 4] = ""
    offset: Annotated[int, 5] = 0
    data: Annotated[bytes, 6] = b""


class WriteResponse(Message):
    """WriteContentResponse, as far as it matters."""

    action: Annotated[int, 1] = _STAT
    offset: Annotated[int, 4] = 0


class SessionDirectories:
    """The content stores of one client (`caching.directories.Directories`)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, one: CacheImport, progress: Progress) -> tuple[RawManifest, SourceOf]:
        """The manifest that the client has named by its digest. Raises NotFound, DataLoss, GrpcError."""
        del progress
        if not is_digest(one.digest):
            raise NotFound(f"the client has found no cache in {one.path}")
        return await self._document(f"local:{one.path}", one.digest)

    async def image(self, name: LayoutName, progress: Progress) -> tuple[RawManifest, SourceOf]:
        """The document whose digest the client says. Raises NotFound, DataLoss, GrpcError."""
        del progress
        if not name.digest:
            raise NotFound(f"the client has found nothing with the tag {name.tag!r} in the OCI layout {name.store}")
        return await self._document(f"oci:{name.store}", name.digest)

    async def _document(self, store_id: str, digest: str) -> tuple[RawManifest, SourceOf]:
        store = _Store(self._client, store_id, asyncio.get_running_loop())
        raw = await store.read(digest, 0, 0, limit=MANIFEST_LIMIT)
        if digest_of(raw) != digest:
            raise DataLoss(f"manifest verification failed for digest {digest}")
        return RawManifest("", digest_of(raw), raw), lambda cancel: _Content(store, cancel)

    async def write(
        self,
        one: CacheExport,
        blobs: Sequence[tuple[Descriptor, OpenBlob]],
        manifest: Descriptor,  # noqa: ARG002 - the client writes the index
        progress: Progress,
    ) -> None:
        """Send what the store does not have. Raises GrpcError, OSError."""
        store = _Store(self._client, f"local:{one.path}", asyncio.get_running_loop())
        for descriptor, open_blob in blobs:
            with suppress(_Exists):
                await store.write(descriptor, open_blob, progress)


async def send_blobs(client: Client, blobs: Sequence[tuple[str, OpenBlob]], progress: Progress) -> None:
    """Send what the client's layout does not have (`-o type=oci,tar=false`); it writes the index itself. Raises
    GrpcError, OSError."""
    store = _Store(client, _EXPORT, asyncio.get_running_loop())
    for digest, open_blob in blobs:
        size = await blocking.run(_size, open_blob)
        with suppress(_Exists):
            await store.write(Descriptor(media_type="", digest=digest, size=size), open_blob, progress)


def _size(open_blob: OpenBlob) -> int:
    with open_blob() as file:
        return os.fstat(file.fileno()).st_size


class _Exists(Exception):
    """The store has the blob."""


class _Store:
    """One store, asked over the session."""

    def __init__(self, client: Client, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._metadata = [(_STORE, name)]
        self.loop = loop

    async def read(self, digest: str, offset: int, size: int, *, limit: int) -> bytes:
        """A part of a blob, of `limit` bytes at most. Raises GrpcError, DataLoss."""
        try:
            async with asyncio.timeout(_READ_S):
                return await self._read(digest, offset, size, limit)
        except TimeoutError as error:
            raise GrpcError(
                Code.DEADLINE_EXCEEDED, f"the client's store has not given {digest} in {_READ_S:.0f} s"
            ) from error

    async def _read(self, digest: str, offset: int, size: int, limit: int) -> bytes:
        found = bytearray()
        async with self._client.stream(f"{_SERVICE}Read", self._metadata) as stream:
            await stream.send_bytes(encode(ReadRequest(digest=digest, offset=offset, size=size)))
            await stream.end()
            while (message := await stream.receive_bytes()) is not None:
                found += decode(ReadResponse, message).data
                if len(found) > limit:
                    raise DataLoss(f"{digest}: more than the expected {limit} bytes")
        return bytes(found)

    async def write(self, descriptor: Descriptor, open_blob: OpenBlob, progress: Progress) -> None:
        """Store a blob. Raises GrpcError, OSError."""
        request = WriteRequest(ref=f"corten-{descriptor.digest}", total=descriptor.size, expected=descriptor.digest)
        async with self._client.stream(f"{_SERVICE}Write", self._metadata) as stream:

            async def say(message: WriteRequest) -> WriteResponse:
                await stream.send_bytes(encode(message))
                answer = await stream.receive_bytes()
                if answer is None:
                    raise GrpcError(Code.INTERNAL, "the client's store has ended a write early")
                return decode(WriteResponse, answer)

            try:
                offset = (await say(request)).offset
                if not 0 <= offset <= descriptor.size:
                    raise DataLoss(
                        f"the client's store has {offset} bytes of the {descriptor.size} of {request.expected}"
                    )
                with await run_cancellable(progress, "disk", open_blob) as file:
                    await blocking.run(file.seek, offset)
                    while data := await run_cancellable(progress, "disk", file.read, _PIECE):
                        await say(WriteRequest(action=_WRITE, ref=request.ref, offset=offset, data=data))
                        offset += len(data)
                await say(
                    WriteRequest(
                        action=_COMMIT,
                        ref=request.ref,
                        total=descriptor.size,
                        expected=descriptor.digest,
                        offset=offset,
                    )
                )
            except GrpcError as error:
                if error.status is Code.ALREADY_EXISTS:
                    raise _Exists from error
                raise
            await stream.end()


class _Content:
    """A store as threads read it (ImageSource)."""

    def __init__(self, store: _Store, cancel: Cancel) -> None:
        self._store = store
        self._cancel = cancel

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """A document. Raises GrpcError, DataLoss."""
        raw = self._read(descriptor.digest, 0, min(descriptor.size, MANIFEST_LIMIT))
        return RawManifest(descriptor.media_type, digest_of(raw), raw)

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,  # noqa: ARG002 - a session that is gone does not come back
    ) -> None:
        """Append what `sink` lacks. Raises GrpcError, DataLoss."""
        while sink.offset < descriptor.size:
            data = self._read(descriptor.digest, sink.offset, min(_PIECE, descriptor.size - sink.offset))
            if not data:
                raise DataLoss(f"{descriptor.digest} has not the size of {descriptor.size} bytes")
            sink.write(data)
            if on_progress is not None:
                on_progress(sink.offset)

    def _read(self, digest: str, offset: int, size: int) -> bytes:
        reading = asyncio.run_coroutine_threadsafe(self._store.read(digest, offset, size, limit=size), self._store.loop)

        def stop() -> None:
            reading.cancel()

        with self._cancel.interrupting(stop):
            return reading.result()
