"""Content stores that a client offers, and that lie."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from corten.build.caching.options import parse_export, parse_import
from corten.build.session.stores import (
    ReadRequest,
    ReadResponse,
    SessionDirectories,
    WriteRequest,
    WriteResponse,
)
from corten.engine.images.progress import Progress
from corten.errors import CortenError, DataLoss, NotFound
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.wire import decode, encode
from corten.registry.cancel import Cancel
from corten.registry.fetch import Buffer
from corten.spec.digest import digest_of
from corten.spec.oci_image import OCI_LAYER_GZIP, Descriptor

BLOB = bytes(range(256)) * 10_000


class Store:
    """A client with one store in memory; `more` is what each answer to a read has besides."""

    def __init__(self, *, more: bytes = b"", blobs: Sequence[bytes] = ()) -> None:
        self.blobs = {digest_of(blob): blob for blob in blobs}
        self.more = more
        self.stores: set[str] = set()
        self.written: dict[str, bytes] = {}
        self.claimed = 0

    @asynccontextmanager
    async def stream(self, method: str, metadata: Sequence[tuple[str, str]] = ()) -> AsyncIterator[Call]:
        self.stores |= {value for name, value in metadata if name == "buildkit-attachable-store-id"}
        yield Call(self, method.rpartition("/")[2])


class Call:
    def __init__(self, store: Store, method: str) -> None:
        self._store, self._method = store, method
        self._answers: list[bytes] = []
        self._data = b""

    async def send_bytes(self, message: bytes) -> None:
        if self._method == "Read":
            self._read(decode(ReadRequest, message))
        else:
            self._write(decode(WriteRequest, message))

    def _read(self, request: ReadRequest) -> None:
        blob = self._store.blobs.get(request.digest)
        if blob is None:
            raise GrpcError(Code.NOT_FOUND, "not found")
        data = blob[request.offset : request.offset + request.size if request.size else None] + self._store.more
        self._answers = [encode(ReadResponse(data=data[n : n + 1000])) for n in range(0, len(data), 1000)]

    def _write(self, request: WriteRequest) -> None:
        if request.expected in self._store.blobs:
            raise GrpcError(Code.ALREADY_EXISTS, "there")
        assert request.offset in (0, len(self._data))
        self._data += request.data
        if request.action == 2:
            assert (digest_of(self._data), len(self._data)) == (request.expected, request.total)
            self._store.written[request.expected] = self._data
        self._answers = [encode(WriteResponse(action=request.action, offset=self._store.claimed or len(self._data)))]

    async def receive_bytes(self) -> bytes | None:
        return self._answers.pop(0) if self._answers else None

    async def end(self) -> None: ...


def described(blob: bytes) -> Descriptor:
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=digest_of(blob), size=len(blob))


def wanted(blob: bytes) -> object:
    return parse_import("local", {"src": "/cache", "digest": digest_of(blob)})


async def test_blobs_are_read_in_pieces_and_written_once() -> None:
    client = Store(blobs=[b"{}", BLOB])
    directories = SessionDirectories(client)
    top, opens = await directories.find(wanted(b"{}"), Progress())
    assert top.raw == b"{}"
    sink = Buffer()
    await asyncio.to_thread(opens(Cancel()).blob, described(BLOB), sink)
    assert sink.content() == BLOB
    new = b"new" * 700_000
    export = parse_export("local", {"dest": "/cache"})
    blobs = [(described(blob), lambda blob=blob: io.BytesIO(blob)) for blob in (BLOB, new)]
    await directories.write(export, blobs, described(new), Progress())
    assert client.written == {digest_of(new): new}
    assert client.stores == {"local:/cache"}


async def test_a_store_that_lies_is_not_believed() -> None:
    for client in (Store(blobs=[b"{}"], more=b"x"), Store(blobs=[b"{}"], more=bytes(5 << 20))):
        with pytest.raises(DataLoss):
            await SessionDirectories(client).find(wanted(b"{}"), Progress())
    with pytest.raises(NotFound):
        await SessionDirectories(Store()).find(parse_import("local", {"src": "/cache"}), Progress())
    with pytest.raises(CortenError):
        await SessionDirectories(Store()).find(wanted(b"{}"), Progress())


@pytest.mark.parametrize(("blobs", "more"), [([b"{}", BLOB], b"x"), ([b"{}"], b"")])
async def test_a_blob_that_is_longer_or_gone_ends_the_read(blobs: list[bytes], more: bytes) -> None:
    client = Store(blobs=blobs)
    _top, opens = await SessionDirectories(client).find(wanted(b"{}"), Progress())
    client.more = more
    with pytest.raises(CortenError):
        await asyncio.to_thread(opens(Cancel()).blob, described(BLOB), Buffer())


async def test_a_read_ends_when_the_build_is_cancelled() -> None:
    client, cancel = Store(blobs=[b"{}", BLOB]), Cancel()
    _top, opens = await SessionDirectories(client).find(wanted(b"{}"), Progress())
    cancel.set()
    with pytest.raises(CortenError):
        await asyncio.to_thread(opens(cancel).blob, described(BLOB), Buffer())


@pytest.mark.parametrize("claimed", [-1, 1 << 40])
async def test_a_store_that_claims_bytes_that_there_are_not_ends_the_write(claimed: int) -> None:
    client = Store()
    client.claimed = claimed
    with pytest.raises(DataLoss, match="the client's store has"):
        await SessionDirectories(client).write(
            parse_export("local", {"dest": "/cache"}),
            [(described(BLOB), lambda: io.BytesIO(BLOB))],
            described(BLOB),
            Progress(),
        )
