"""Asks the zygote for sockets of another network namespace and waits for them. Daemon only, on the loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence

from corten.errors import Unavailable
from corten.linux.errors import SyscallError
from corten.shim import protocol
from corten.shim.zygote_process import ZygoteProcess

_REPLY_S = 10.0


async def receive_sockets(
    zygote: ZygoteProcess,
    wanted: Sequence[tuple[int, int, int, str]],
    sysctls: Mapping[str, Mapping[str, str]],
    netns: int,
) -> list[socket.socket]:
    """The sockets, in the order asked for, once `sysctls` of interfaces are written there. Raises Unavailable (no
    answer; the zygote is given up), SyscallError (the kernel refused)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        ours.setblocking(False)
        try:
            sockets = [(int(family), int(kind), number, address) for family, kind, number, address in wanted]
            request = {"sockets": sockets, "sysctls": {name: dict(values) for name, values in sysctls.items()}}
            asked = zygote.send(request, [theirs.fileno(), netns])
        except OSError as error:
            raise Unavailable(f"no zygote to make sockets: {error}") from error
        finally:
            theirs.close()
        receiver = protocol.Receiver(ours)
        try:
            async with asyncio.timeout(_REPLY_S):
                reply, fds = await _reply(ours, receiver)
        except (TimeoutError, OSError, protocol.ProtocolError) as error:
            zygote.give_up(asked)
            raise Unavailable(f"no sockets from the zygote: {error}") from error
        finally:
            receiver.close()
    if "errno" in reply:
        raise SyscallError(reply["errno"], "socket", reply["text"])
    return _adopt(fds)


async def _reply(ours: socket.socket, receiver: protocol.Receiver) -> tuple[protocol.Message, list[int]]:
    loop = asyncio.get_running_loop()
    while True:
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(ours.fileno(), _wake, readable)
        try:
            await readable
        finally:
            loop.remove_reader(ours.fileno())
        if not receiver.fill():
            raise protocol.ProtocolError("it ended without a reply")
        item = receiver.take()
        if item is not None:
            return item


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _adopt(fds: list[int]) -> list[socket.socket]:
    """Socket objects that own the descriptors: all of them, or none is left open."""
    made: list[socket.socket] = []
    try:
        for fd in fds:
            made.append(socket.socket(fileno=fd))
            made[-1].setblocking(False)
    except BaseException:
        for sock in made:
            sock.close()
        for fd in fds[len(made) :]:
            os.close(fd)
        raise
    return made
