"""Files from a client: its list, and of those that are wanted and not here yet the bytes. Daemon's loop; disk threads.

The daemon asks while the list still comes, for a bounded number of files at once, which a client far away needs to be
busy; it asks in a task of its own, for a client may take no more questions before its answers are read. What arrives is
written and hashed in a thread, a batch at a time. Bytes beyond what the list says of a file are dropped: it has grown
meanwhile.
Source: receive.go of github.com/tonistiigi/fsutil.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from corten.build.session.client import Stream
from corten.build.session.listing import Entry, Order, Place, entry_of
from corten.build.session.pack import Pack
from corten.build.session.packet import (
    DATA,
    ERR,
    FIN,
    REQ,
    STAT,
    BadPacket,
    Packet,
    decode_packet,
    decode_stat,
    encode_packet,
)
from corten.engine.images.settled import settled
from corten.errors import InvalidArgument
from corten.lib import blocking

_ASKED = 1024  # files at once
_BATCH_BYTES = 1 << 20
_BATCH_PIECES = 512
_TURN = 256  # packets
_EXCESS = 256 << 20  # bytes beyond what the list says, in all
_TOTAL = 1 << 42  # bytes of one transfer
_AFTER_END = 1024  # packets between our end and theirs


@dataclass(slots=True)
class _Incoming:
    """A file that was asked for: `number` in the list, room in the pack from `offset` on."""

    number: int
    entry: Entry
    offset: int
    length: int = 0
    hash: hashlib._Hash | None = None  # made with the first bytes: a million files may wait


class Receiver:
    """One transfer over `stream`, into `pack`. `known` are files that are here already, by the bytes of their Stat;
    `wants` tells of a file of another size or time whether its bytes are needed; `told` how many have come."""

    def __init__(
        self,
        stream: Stream,
        pack: Pack,
        *,
        known: Mapping[bytes, Entry],
        wants: Callable[[Entry], bool] = lambda _entry: True,
        told: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self._stream = stream
        self._pack = pack
        self._known = known
        self._wants = wants
        self._told = told
        self._order = Order()
        self._entries: list[Entry] = []
        self._waiting: deque[_Incoming] = deque()
        self._coming: dict[int, _Incoming] = {}
        self._batch: list[tuple[_Incoming, int, bytes]] = []
        self._batch_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self._questions: asyncio.Queue[int] = asyncio.Queue()
        self._total = self._excess = self._packets = 0

    async def receive(self) -> list[Entry]:
        """The list, with places. Raises BadPacket, GrpcError, InvalidArgument with the client's words, OSError."""
        asking = asyncio.ensure_future(self._ask())
        try:
            listed = False
            while not (listed and not self._coming and not self._waiting):
                packet = await self._next()
                if packet.type == STAT and not listed:
                    listed = packet.stat is None
                    if packet.stat is not None:
                        self._list(packet.stat)
                elif packet.type == DATA:
                    await self._take(packet)
                else:
                    raise BadPacket("the client sent a packet that nobody expected")
                while self._waiting and len(self._coming) < _ASKED:
                    one = self._waiting.popleft()
                    self._coming[one.number] = one
                    self._questions.put_nowait(one.number)
                self._packets += 1
                if self._packets % _TURN == 0:  # a client that sends fast must not have the loop to itself
                    await asyncio.sleep(0)
            await self._write()
            await self._written()
            await self._end()
        finally:
            asking.cancel()
            await settled([asking, *([self._writing] if self._writing is not None else [])])
        return self._entries

    async def _next(self) -> Packet:
        data = await self._stream.receive_bytes()
        if data is None:
            raise BadPacket("the client ended the transfer of files too early")
        packet = decode_packet(data)
        if packet.type == ERR:
            raise InvalidArgument(f"error from sender: {packet.data[:4096].decode('utf-8', 'replace')}")
        return packet

    def _list(self, raw: bytes) -> None:
        """Another entry of the list."""
        known = self._known.get(raw)
        entry = known if known is not None else entry_of(decode_stat(raw), raw)
        self._order.check(entry)
        number = len(self._entries)
        self._entries.append(entry)
        if known is not None or entry.kind != "file" or not entry.size or not self._wants(entry):
            return
        offset = self._pack.allocate(entry.size)
        if offset + entry.size > _TOTAL:
            raise BadPacket("the client sends more bytes than a build may have")
        self._waiting.append(_Incoming(number, entry, offset))

    async def _ask(self) -> None:
        """Ask for files until cancelled; that the call has broken off, `receive` tells."""
        while True:
            await self._stream.send_bytes(encode_packet(Packet(REQ, id=await self._questions.get())))

    async def _take(self, packet: Packet) -> None:
        """Some bytes of a file, or its end."""
        one = self._coming.get(packet.id)
        if one is None:
            raise BadPacket("the client sent bytes of a file that it was not asked for")
        if not packet.data:
            del self._coming[packet.id]
        room = one.entry.size - one.length
        data = packet.data if len(packet.data) <= room else packet.data[:room]
        self._excess += len(packet.data) - len(data)
        if self._excess > _EXCESS:
            raise BadPacket("the client sends more bytes than its files have")
        if packet.data and not data:
            return
        self._batch.append((one, one.offset + one.length, data))
        one.length += len(data)
        self._total += len(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_PIECES:
            await self._write()
            self._told(self._total)

    async def _write(self) -> None:
        """Let a thread have the batch, when it is done with the one before."""
        await self._written()
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            self._writing = asyncio.ensure_future(blocking.run(self._store, batch))

    async def _written(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    def _store(self, batch: list[tuple[_Incoming, int, bytes]]) -> None:
        """Write, hash, and note where a finished file is. A thread."""
        self._pack.write([(position, data) for _, position, data in batch if data])
        for one, _, data in batch:
            if not data:
                self._finish(one)
            elif one.hash is None:
                one.hash = hashlib.sha256(data)
            else:
                one.hash.update(data)

    def _finish(self, one: _Incoming) -> None:
        """A file is here. One with fewer bytes than its Stat says is not known by that the next time."""
        digest = one.hash if one.hash is not None else hashlib.sha256()
        place = Place(self._pack.name, one.offset, one.length, digest.hexdigest())
        raw = one.entry.raw if one.length == one.entry.size else b""
        self._entries[one.number] = msgspec.structs.replace(one.entry, place=place, raw=raw)

    async def _end(self) -> None:
        """Agree on the end."""
        self._told(self._total)
        await self._stream.send_bytes(encode_packet(Packet(FIN)))
        await self._stream.end()
        for _ in range(_AFTER_END):
            data = await self._stream.receive_bytes()
            if data is None or decode_packet(data).type == FIN:
                return
        raise BadPacket("the client does not end the transfer of files")
