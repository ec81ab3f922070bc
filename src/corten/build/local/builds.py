"""Builds over a local connection: the client passes directories, and hears what those of POST /build do. Daemon's loop.

A client that goes away, or says what it may not, ends its build; nothing of it is left then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import msgspec

from corten.build.caching.passed import PassedDirectories, split_passed
from corten.build.classic import ClassicBuilds
from corten.build.local.channel import Channel
from corten.build.local.frames import BadFrame, Frame
from corten.build.local.offers import LocalOffers
from corten.build.options import BuildOptions
from corten.build.sources.directory import Directories, DirectorySource
from corten.build.sources.source import DOCKERFILE_LIMIT, BuildSource
from corten.build.trees.hashes import HashMemory
from corten.engine.images.progress import Progress
from corten.engine.images.settled import settled
from corten.errors import Cancelled, CortenError, InvalidArgument, ResourceExhausted
from corten.lib import codec
from corten.lib.disk_full import words
from corten.lib.memory import Memory
from corten.linux.acting import Identity, peer_of
from corten.linux.errors import reason
from corten.spec.docker.progress import ProgressMessage, failure

_LOG = logging.getLogger("corten.build")
_REQUEST_S = 60.0
_MEMORY = 256 << 20  # of frames that have come in part, and Dockerfiles, of all clients
_CONNECTIONS = 256  # each has DESCRIPTORS_LIMIT directories, as many others on the way, and a thread at most
_LOCAL = "local:"
Values = Mapping[str, str | Sequence[str]]
Decode = Callable[[Values], BuildOptions]


class BuildRequest(msgspec.Struct, kw_only=True):
    """What is to be built: the query of POST /build, and the contexts' names in the descriptors' order."""

    query: dict[str, str | list[str]] = msgspec.field(default_factory=dict)
    contexts: list[str] = msgspec.field(default_factory=list)


class _Opening(msgspec.Struct, kw_only=True):
    """A client's frame before its build runs."""

    build: BuildRequest | None = None
    dockerfile: bool = False
    ignore: bool = False


class LocalBuilds:
    """One a daemon; `memory` has the contexts' hashes."""

    def __init__(self, *, classic: ClassicBuilds, memory: HashMemory) -> None:
        self._classic = classic
        self._memory = memory
        self._connections = 0
        self._sent = Memory(_MEMORY)

    def check_room(self) -> None:
        """Raise ResourceExhausted when there are too many clients."""
        if self._connections >= _CONNECTIONS:
            raise ResourceExhausted(
                f"there are {_CONNECTIONS} builds of directories already: try again when one has ended"
            )

    async def serve(self, sock: socket.socket, decode: Decode) -> None:
        """One connection, to its end; `decode` reads the query. The socket is this one's from now on. Raises nothing
        but CancelledError."""
        self._connections += 1
        channel = Channel(sock, self._sent)
        try:
            await self._serve(channel, peer_of(sock), decode)
        except (CortenError, OSError) as error:
            with suppress(OSError):
                await channel.send(codec.encode({"error": words(error), "code": getattr(error, "code", "")}))
        except Exception:
            _LOG.exception("a build's connection broke off")
        finally:
            try:
                await channel.close()  # only then there is room for another
            finally:
                self._connections -= 1

    async def _serve(self, channel: Channel, reader: Identity, decode: Decode) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                query, passed = await _request(channel, reader)
        except TimeoutError:
            raise InvalidArgument(f"the client did not say within {_REQUEST_S:.0f} s what is to be built") from None
        try:
            options = decode(query)
            own, caches = split_passed(passed.contexts, reader)
            contexts = {name: f"{_LOCAL}{name}" for name in own if name}
            options = replace(options, contexts={**options.contexts, **contexts})
            await self._build(channel, options, replace(passed, contexts=own), caches)
        finally:
            channel.discard(passed.contexts.values())

    async def _build(
        self, channel: Channel, options: BuildOptions, passed: Directories, caches: PassedDirectories
    ) -> None:
        """Run it as long as the client is there. Raises what it raises, BadFrame, InvalidArgument."""
        offers = LocalOffers(channel)
        await channel.send(b'{"begun":true}')
        build = asyncio.ensure_future(self._run(channel, options, passed, offers, caches))
        listening = asyncio.ensure_future(_listen(channel, offers))
        try:
            await asyncio.wait([build, listening], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (build, listening):
                task.cancel()
            await settled([build, listening])
        (listening if build.cancelled() else build).result()

    async def _run(
        self,
        channel: Channel,
        options: BuildOptions,
        passed: Directories,
        offers: LocalOffers,
        caches: PassedDirectories,
    ) -> None:
        @asynccontextmanager
        async def bring(progress: Progress) -> AsyncIterator[BuildSource]:
            if options.remote:
                remote = self._classic.remote(options, passed.dockerfile, offers, progress)
                try:
                    yield remote
                finally:
                    await remote.close()
                return
            source = DirectorySource(passed, options.dockerfile, self._memory, progress)
            try:
                yield source
            finally:
                await source.close()

        said = False
        messages = self._classic.stream(options, bring, offers, caches)
        try:
            async for message in messages:
                await _send(channel, message)
                said = True
        except (CortenError, OSError) as error:
            if not said:
                raise
            await _send(channel, failure(words(error)))
        finally:
            await messages.aclose()
        await channel.send(b'{"end":true}')


async def _send(channel: Channel, message: ProgressMessage) -> None:
    """A message; of one with a piece of a result the bytes go as they are, and which result they are of."""
    aux = message.aux if isinstance(message.aux, dict) else {}
    data = aux.get("Output")
    if isinstance(data, bytes):
        number = int(aux.get("Number") or 0)
        await channel.send(b'{"output":true,"number":%d}' % number, data)
    else:
        await channel.send(b'{"progress":' + codec.encode(message) + b"}")


async def _listen(channel: Channel, offers: LocalOffers) -> None:
    """Take answers until the client leaves. Raises BadFrame, InvalidArgument."""
    while (frame := await channel.receive()) is not None:
        offers.take(frame)


async def _request(channel: Channel, reader: Identity) -> tuple[Values, Directories]:
    """What the client sends first. Raises InvalidArgument; Cancelled when it leaves."""
    texts: dict[str, bytes] = {}
    while (frame := await channel.receive()) is not None:
        try:
            opening = codec.decode(_Opening, frame.message)
            for name in ("dockerfile", "ignore"):
                if getattr(opening, name):
                    if len(frame.data) > DOCKERFILE_LIMIT or name in texts:
                        raise InvalidArgument(f"a Dockerfile or .dockerignore has more than {DOCKERFILE_LIMIT} bytes")
                    channel.keep(len(frame.data))
                    texts[name] = frame.data
            if opening.build is not None:
                contexts = await _directories(channel, opening.build.contexts, frame)
                passed = Directories(contexts=contexts, reader=reader, **texts)
                return opening.build.query, passed
        finally:
            frame.close()
    raise Cancelled("the client closed the connection")


async def _directories(channel: Channel, names: Sequence[str], frame: Frame) -> dict[str, int]:
    """The contexts' descriptors, taken from their frame. Raises InvalidArgument for what is no directory."""
    if len(names) != len(frame.fds) or len(set(names)) != len(names):
        raise BadFrame("each context has one name and one descriptor")
    contexts = dict(zip(names, frame.fds, strict=True))
    await channel.look(_check_directories, contexts)
    frame.fds = []
    return contexts


def _check_directories(contexts: Mapping[str, int]) -> None:
    for name, fd in contexts.items():
        try:
            mode = os.fstat(fd).st_mode
        except OSError as error:  # of FUSE, which shows itself to its own user's processes alone: a tar can be sent
            raise BadFrame(f"context {name!r} cannot be read by the engine: {reason(error.errno or 0)}") from error
        if not stat.S_ISDIR(mode):
            raise InvalidArgument(f"context {name!r} is no directory")
