"""One connection of the daemon to one shim: requests with replies, events as callbacks. Async, on the daemon's loop.

A shim whose connection ends without an `exit` is lost: the owner is told and the engine decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corten.errors import Internal, Unavailable
from corten.shim import protocol
from corten.shim.sandbox import Sandbox

_REPLY_S = 120.0  # hooks have timeouts of their own; nothing else in a start takes seconds
_DISCARD_S = 15.0  # the shim bounds its own end by 10 s


class StartFailed(Exception):
    """The container's or exec's process could not be started. `stage` names the runtime's step."""

    def __init__(self, stage: str, errno: int, text: str) -> None:
        super().__init__(text)
        self.stage = stage
        self.errno = errno
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended. `finished_ns` is Unix time."""

    code: int
    oom_killed: bool
    finished_ns: int


def parse_exit(message: dict[str, Any]) -> Exit:
    """The exit that a shim reports, or has left in exit.json."""
    return Exit(code=int(message["code"]), oom_killed=bool(message["oom"]), finished_ns=int(message["finished_ns"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What init needs: the OCI spec, the root file system to mount, the interfaces to configure, where to log."""

    spec: dict[str, Any]
    rootfs: dict[str, Any]
    root_fd: int = -1  # of a root of type `mount`; stays the caller's
    interfaces: list[dict[str, Any]] = field(default_factory=list)
    renew_network: bool = False  # leave the prepared network namespace for a new one
    seccomp_path: str = ""
    log: dict[str, Any] = field(default_factory=dict)
    open_stdin: bool = False
    stdin_once: bool = False
    init: bool = False


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """What the engine wants to hear. Called on the loop, synchronously."""

    on_exit: Callable[[str, Exit], None]
    on_exec_exit: Callable[[str, str, int], None]
    on_oom: Callable[[str], None]
    on_detach: Callable[[str, str], None]
    on_lost: Callable[[str], None]
    on_warm: Callable[[str, int], None] = lambda _cid, _pid: None
    on_cold: Callable[[str], None] = lambda _cid: None


class Shim:
    """The connection to one shim."""

    def __init__(self, cid: str, sock: socket.socket, callbacks: Callbacks, on_close: Callable[[Shim], None]) -> None:
        self.cid = cid
        self.pid = 0
        self.shim_pid = 0
        self.started = False
        self.ended = False
        self.execs: dict[str, int] = {}
        self.sandbox: Sandbox | None = None
        self._callbacks = callbacks
        self._on_close = on_close
        self._socket = sock
        self._socket.setblocking(False)
        self._receiver = protocol.Receiver(sock)
        self._sequence = 0
        self._replies: dict[int, asyncio.Future[protocol.Message]] = {}
        self._loop = asyncio.get_running_loop()
        self.prepared: asyncio.Future[int] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock.fileno(), self._readable)

    # -- requests

    async def start(self, request: StartRequest) -> None:
        """Run the container's process. Raises StartFailed; the shim is then only good for `discard`."""
        root = () if request.root_fd < 0 else (request.root_fd,)
        document = {
            "spec": request.spec,
            "rootfs": request.rootfs,
            "interfaces": request.interfaces,
            "renew_network": request.renew_network,
            "seccomp_path": request.seccomp_path,
            "init": request.init,
        }
        reply = await self._ask_about(
            document,
            {
                "do": "start",
                "tty": bool(request.spec["process"].get("terminal")),
                "open_stdin": request.open_stdin,
                "stdin_once": request.stdin_once,
                "log": request.log,
            },
            root,
        )
        self.pid = int(reply["pid"])
        self.started = True

    async def exec(self, exec_id: str, *, process: dict[str, Any], open_stdin: bool, seccomp_path: str = "") -> int:
        """Start a process inside; returns its pid on the host. Raises StartFailed."""
        reply = await self._ask_about(
            {"process": process, "seccomp_path": seccomp_path},
            {"do": "exec", "exec_id": exec_id, "tty": bool(process.get("terminal")), "open_stdin": open_stdin},
        )
        self.execs[exec_id] = pid = int(reply["pid"])
        return pid

    async def attach(
        self,
        fd: int,
        *,
        exec_id: str = "",
        stdin: bool,
        stdout: bool,
        stderr: bool,
        stream: bool = True,
        logs: bool = False,
        preface: bytes = b"",
        detach_keys: str = "",
    ) -> None:
        """Hand the client's connection to the shim; `fd` stays the caller's and may be closed afterwards."""
        await self._ask(
            {
                "do": "attach",
                "exec_id": exec_id,
                "stdin": stdin,
                "stdout": stdout,
                "stderr": stderr,
                "stream": stream,
                "logs": logs,
                "preface": preface.hex(),
                "detach_keys": detach_keys,
            },
            (fd,),
        )

    async def resize(self, width: int, height: int, *, exec_id: str = "") -> None:
        """Set the terminal's size in characters."""
        await self._ask({"do": "resize", "exec_id": exec_id, "width": width, "height": height})

    async def signal(self, number: int, *, exec_id: str = "") -> None:
        """Signal init, or one exec, by pidfd."""
        await self._ask({"do": "signal", "exec_id": exec_id, "number": int(number)})

    async def sync(self) -> None:
        """Return when every event that happened before has been delivered."""
        if not self.closed.done():
            with contextlib.suppress(Unavailable):
                await self._ask({"do": "sync"})

    async def hello(self) -> protocol.Message:
        """The shim's state, for a daemon that finds it again."""
        return await self._ask({"do": "hello"})

    def release(self) -> None:
        """The container ended or was never started: the shim removes its cgroup and directory and ends, on its own."""
        self.ended = True
        if not self.closed.done():
            with contextlib.suppress(Unavailable):
                self._post({"do": "discard", "seq": 0})

    async def discard(self) -> None:
        """`release`, and wait until the shim has ended."""
        self.release()
        if not self.closed.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.closed), _DISCARD_S)

    def _post(self, message: protocol.Message, fds: Sequence[int] = ()) -> None:
        """Send without waiting: messages are small against the socket's buffer, and the shim always reads."""
        if self.closed.done():
            raise Unavailable(f"the shim of container {self.cid} is gone")
        try:
            self._socket.setblocking(True)
            self._socket.settimeout(10)
            protocol.send(self._socket, message, fds)
        except OSError as error:
            raise Unavailable(f"the shim of container {self.cid} does not answer: {error}") from error
        finally:
            if not self.closed.done():
                self._socket.setblocking(False)

    async def _ask(self, message: protocol.Message, fds: Sequence[int] = ()) -> protocol.Message:
        self._sequence += 1
        sequence = self._sequence
        future: asyncio.Future[protocol.Message] = self._loop.create_future()
        self._replies[sequence] = future
        try:
            self._post({**message, "seq": sequence}, fds)
            async with asyncio.timeout(_REPLY_S):
                reply = await future
        except TimeoutError as error:
            raise Unavailable(f"the shim of container {self.cid} did not answer {message['do']}") from error
        finally:
            self._replies.pop(sequence, None)
        failure = reply.get("error")
        if failure is not None:
            raise StartFailed(failure["stage"], int(failure["errno"]), failure["text"])
        return reply

    async def _ask_about(
        self, document: dict[str, Any], message: protocol.Message, fds: Sequence[int] = ()
    ) -> protocol.Message:
        """`_ask` with a document, and what belongs to it, that the shim hands on to a launcher."""
        fd = protocol.write_document(document)
        try:
            return await self._ask(message, (fd, *fds))
        finally:
            os.close(fd)

    # -- what the shim says

    def _readable(self) -> None:
        try:
            alive = self._receiver.fill()
            while (item := self._receiver.take()) is not None:
                self._heard(item[0])
        except BlockingIOError:
            return
        except (OSError, protocol.ProtocolError):
            alive = False
        if not alive:
            self.close()

    def _heard(self, message: protocol.Message) -> None:
        if "re" in message:
            future = self._replies.get(message["re"])
            if future is not None and not future.done():
                future.set_result(message)
            return
        handler = getattr(self, "_heard_" + str(message.get("ev")), None)
        if handler is not None:
            handler(message)

    def _heard_prepared(self, message: protocol.Message) -> None:
        self.pid, self.shim_pid = int(message["pid"]), int(message["shim"])
        if not self.prepared.done():
            self.prepared.set_result(self.pid)

    def _heard_failed(self, message: protocol.Message) -> None:
        if not self.prepared.done():
            self.prepared.set_exception(Internal(f"sandbox of container {self.cid}: {message['text']}"))

    def _heard_exit(self, message: protocol.Message) -> None:
        self.ended = True
        self._callbacks.on_exit(self.cid, parse_exit(message))

    def _heard_exec_exit(self, message: protocol.Message) -> None:
        self.execs.pop(message["exec_id"], None)
        self._callbacks.on_exec_exit(self.cid, message["exec_id"], int(message["code"]))

    def _heard_oom(self, _message: protocol.Message) -> None:
        self._callbacks.on_oom(self.cid)

    def _heard_detach(self, message: protocol.Message) -> None:
        self._callbacks.on_detach(self.cid, message["exec_id"])

    def close(self) -> None:
        """The connection is over: every waiter learns it."""
        if self.closed.done():
            return
        self._loop.remove_reader(self._socket.fileno())
        self._receiver.close()
        self._socket.close()
        self.closed.set_result(None)
        gone = Unavailable(f"the shim of container {self.cid} is gone")
        for future in self._replies.values():
            if not future.done():
                future.set_exception(gone)
        if not self.prepared.done():
            self.prepared.set_exception(gone)
            self.prepared.exception()  # nobody may be waiting
        self._on_close(self)
