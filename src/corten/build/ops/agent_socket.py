"""A unix socket in a step behind which an ssh agent of the client's answers. Daemon's loop.

Each connection of the step is one to the agent. Nothing is read into what passes: who may use the agent is decided by
the client, which offers it to this build.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from corten.build.face import AgentStream, Offers
from corten.build.operations import Mount
from corten.engine.images.settled import settled
from corten.errors import CortenError
from corten.lib import blocking

_CONNECTIONS = 64  # at once; more are hung up on
_READ = 32 << 10


class AgentSocket:
    """One mount's socket. `first` is a connection to the agent that is open already: the first one to the socket."""

    def __init__(self, offers: Offers, mount: Mount, first: AgentStream) -> None:
        self._offers = offers
        self._mount = mount
        self._first: AgentStream | None = first
        self._passing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[None]:
        """The socket is at `path` as long as the block. Raises OSError."""
        listener = await blocking.run(_listen, path, self._mount)
        server = await asyncio.start_unix_server(self._accept, sock=listener, limit=_READ)
        try:
            yield
        finally:
            server.close()
            for task in self._passing:
                task.cancel()
            await settled(self._passing)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._passing) >= _CONNECTIONS:
            writer.close()
            return
        task = asyncio.ensure_future(self._pass(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until one side hangs up."""
        agent, self._first = self._first, None
        try:
            with suppress(CortenError, OSError):  # the client is gone: the step sees a closed connection
                agent = agent or await self._offers.agent(self._mount.id)
        finally:
            if agent is None:
                writer.close()
        if agent is not None:
            await passed(reader, writer, agent)


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: AgentStream) -> None:
    """Carry bytes between a connection and an agent until one side hangs up; both are closed then."""
    try:
        with suppress(CortenError, OSError):
            await _both(_upwards(reader, agent), _downwards(agent, writer))
    finally:
        writer.close()
        with suppress(CortenError, OSError):
            await agent.close()


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    """Until one of two ways ends."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await settled(tasks)


async def _upwards(reader: asyncio.StreamReader, agent: AgentStream) -> None:
    while data := await reader.read(_READ):
        await agent.write(data)


async def _downwards(agent: AgentStream, writer: asyncio.StreamWriter) -> None:
    while data := await agent.read():
        writer.write(data)
        await writer.drain()


def _listen(path: Path, mount: Mount) -> socket.socket:
    """A listening socket; its directory is reached by descriptor, since names of sockets are short (unix(7))."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.chown(path.name, mount.uid, mount.gid, dir_fd=directory, follow_symlinks=False)
        os.chmod(path, mount.mode & 0o777)
        listener.listen(_CONNECTIONS)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(directory)
    listener.setblocking(False)
    return listener
