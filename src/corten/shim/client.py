"""All shims of this daemon, and the zygote they come from. Async, on the daemon's loop; the daemon itself never forks.

`Shims` keeps the zygote alive, hands out container ids (some with a sandbox already prepared), finds shims again after
a restart, and keeps a connection to each (connection.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from corten.errors import Unavailable
from corten.shim import protocol
from corten.shim.connection import Callbacks, Exit, Shim, StartFailed, StartRequest, parse_exit
from corten.shim.sandbox import Sandbox, sandbox_for
from corten.shim.socket_request import receive_sockets
from corten.shim.zygote_process import ZygoteProcess

__all__ = ["Callbacks", "Exit", "Recovered", "Shim", "Shims", "StartFailed", "StartRequest"]

_LOG = logging.getLogger("corten.shim")
_NO_SYSCTLS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a new daemon found of a container: a living shim, or how it ended (None: its shim was killed)."""

    cid: str
    shim: Shim | None
    exit: Exit | None


class Shims:
    """All shims of this daemon, and the zygote they come from.

    `warm` sandboxes are kept prepared for the default kind of container; `cgroup_parent` is where their cgroups are.
    """

    def __init__(self, *, exec_root: Path, cgroup_parent: str, callbacks: Callbacks, warm: int = 2) -> None:
        self.callbacks = callbacks
        self._root = exec_root / "shim"
        self._cgroup_parent = cgroup_parent.rstrip("/") or "/"
        self._warm_target = warm
        self._zygote = ZygoteProcess()
        self._shims: dict[str, Shim] = {}
        self._warm: dict[str, Shim] = {}
        self._reserved: dict[str, Shim] = {}
        self._template: Sandbox | None = None
        self._sketch: dict[str, Any] | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._stopping = False

    # -- life

    def open(self) -> None:
        """Start the zygote. Called before the daemon has threads or secrets."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._zygote.ensure()

    async def shutdown(self) -> None:
        """Give up prepared sandboxes and the zygote; running containers stay with their shims."""
        self._stopping = True
        if self._refill is not None:
            self._refill.cancel()
        unused = [*self._warm.values(), *self._reserved.values()]
        self._warm.clear()
        self._reserved.clear()
        await asyncio.gather(*(shim.discard() for shim in unused))
        for shim in list(self._shims.values()):
            shim.ended = True
            shim.close()
        self._zygote.close()

    @property
    def zygote_pid(self) -> int:
        """For `info` and for measurements."""
        return self._zygote.pid

    # -- ids and sandboxes

    def new_id(self) -> str:
        """A fresh container id, of a prepared sandbox when there is one."""
        for cid, shim in self._warm.items():
            if shim.prepared.done() and shim.prepared.exception() is None:
                del self._warm[cid]
                self._reserved[cid] = shim
                self._schedule_refill()
                return cid
        return secrets.token_hex(32)

    def cgroup_path(self, cid: str) -> str:
        """Where a container without a parent of its own has its cgroup."""
        return f"{self._cgroup_parent}/{cid}"

    async def prepare(self, cid: str, *, spec: dict[str, Any]) -> Shim:
        """A sandbox for `spec`: the one prepared under this id if it fits, else a new one. Raises Internal."""
        wanted = sandbox_for(spec)
        shim = self._reserved.pop(cid, None)
        if shim is not None and (shim.closed.done() or not wanted.fits(shim.sandbox)):
            await self._drop(shim)
            shim = None
        old = self._shims.get(cid)
        if old is not None:
            await old.discard()
        if shim is None:
            shim = await self._cold(cid, wanted)
        self._shims[cid] = shim
        if wanted.is_default(self.cgroup_path(cid)):
            self._template = wanted
            self._sketch = spec
        self._schedule_refill()
        return shim

    async def _cold(self, cid: str, wanted: Sandbox) -> Shim:
        """A new sandbox now. A zygote that died with the request in its socket is replaced, once."""
        shim = self._fork(cid, wanted)
        asked = self._zygote.pid
        try:
            await shim.prepared
        except Unavailable:
            self._zygote.give_up(asked)
            shim = self._fork(cid, wanted)
            await shim.prepared
        return shim

    async def _drop(self, shim: Shim) -> None:
        self.callbacks.on_cold(shim.cid)
        await shim.discard()

    async def forget(self, cid: str) -> None:
        """The container is removed before it was started: its prepared sandbox goes too."""
        shim = self._reserved.pop(cid, None)
        if shim is not None:
            await self._drop(shim)

    def get(self, cid: str) -> Shim | None:
        """The shim of a container that is prepared or running."""
        return self._shims.get(cid)

    async def open_sockets(
        self,
        cid: str,
        wanted: Sequence[tuple[int, int, int, str]],
        *,
        sysctls: Mapping[str, Mapping[str, str]] = _NO_SYSCTLS,
    ) -> list[socket.socket]:
        """Sockets (family, type, protocol, address to bind to or "") in a container's network namespace, non-blocking
        and the caller's to close; before that `sysctls` of interfaces are written there. Raises Unavailable (it does
        not run, or no zygote), SyscallError (refused)."""
        shim = self._shims.get(cid)
        if shim is None or shim.ended:
            raise Unavailable(f"container {cid} is not running")
        try:
            netns = os.open(f"/proc/{shim.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"container {cid} is not running") from error
        try:
            # What was opened is the container's, and not that of a later process with this pid, when init is not reaped
            # yet: the shim, which alone can reap it, says so after the opening, and before anything is written there.
            await shim.sync()
            if shim.ended or shim.closed.done():
                raise Unavailable(f"container {cid} is not running")
            made = await self._sockets(wanted, sysctls, netns)
        finally:
            os.close(netns)
        if shim.ended or shim.closed.done():
            for sock in made:
                sock.close()
            raise Unavailable(f"container {cid} is not running")
        return made

    async def _sockets(
        self, wanted: Sequence[tuple[int, int, int, str]], sysctls: Mapping[str, Mapping[str, str]], netns: int
    ) -> list[socket.socket]:
        """Of the zygote; one that died with the request in its socket is replaced, once."""
        try:
            return await receive_sockets(self._zygote, wanted, sysctls, netns)
        except Unavailable:
            return await receive_sockets(self._zygote, wanted, sysctls, netns)

    def _fork(self, cid: str, sandbox: Sandbox, sketch: dict[str, Any] | None = None) -> Shim:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        fds = [theirs.fileno()]
        request = {"id": cid, "dir": str(self._root / cid), "cgroup": sandbox.cgroup}
        try:
            fds.append(protocol.write_document(sandbox.document(sketch)))
            self._zygote.send(request, fds)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for fd in fds[1:]:
                os.close(fd)
        shim = Shim(cid, ours, self.callbacks, self._closed)
        shim.sandbox = sandbox
        return shim

    def start_warming(self) -> None:
        """Begin to keep prepared sandboxes; called once the daemon serves."""
        if self._template is None:
            self._template = Sandbox.default()
        self._schedule_refill(0.0)

    def _schedule_refill(self, delay: float = 0.02) -> None:
        """Prepare later: not while the start that took one is still on its way."""
        if self._template is None or self._refill is not None or self._stopping:
            return
        self._refill = asyncio.get_running_loop().call_later(delay, self._fill)

    def _fill(self) -> None:
        self._refill = None
        while self._template is not None and len(self._warm) < self._warm_target:
            cid = secrets.token_hex(32)
            try:
                shim = self._fork(cid, self._template.at(self.cgroup_path(cid)), self._sketch)
            except OSError:
                _LOG.exception("no sandbox could be prepared")
                return
            self._warm[cid] = shim
            shim.prepared.add_done_callback(lambda done, cid=cid: self._warmed(cid, done))  # type: ignore[misc]

    def _warmed(self, cid: str, done: asyncio.Future[int]) -> None:
        if done.cancelled() or done.exception() is not None:
            _LOG.warning("a prepared sandbox failed: %s", done.exception())
            self._warm.pop(cid, None)
        elif cid in self._warm:
            self.callbacks.on_warm(cid, done.result())

    # -- the end of shims

    def _closed(self, shim: Shim) -> None:
        self._warm.pop(shim.cid, None)
        if self._shims.get(shim.cid) is shim:
            del self._shims[shim.cid]
            if not shim.ended and not self._stopping:
                self.callbacks.on_lost(shim.cid)

    async def recover(self) -> list[Recovered]:
        """Find what an earlier daemon left: living shims are connected, ended ones reported. Directories of ended
        ones stay until `clear(cid)`, so that a crash here loses nothing."""
        found: list[Recovered] = []
        for directory in sorted(self._root.iterdir()):
            shim = await self._reconnect(directory)
            exit_status: Exit | None = None
            if shim is None:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    exit_status = parse_exit(json.loads((directory / "exit.json").read_bytes()))
            found.append(Recovered(cid=directory.name, shim=shim, exit=exit_status))
        return found

    async def _reconnect(self, directory: Path) -> Shim | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # /proc/self/fd keeps the address below the 108 bytes of unix(7), however long the exec root is.
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sock.connect(f"/proc/self/fd/{fd}/sock")
            finally:
                os.close(fd)
        except OSError:
            sock.close()
            return None
        shim = Shim(directory.name, sock, self.callbacks, self._closed)
        try:
            state = await shim.hello()
        except Unavailable:
            return None
        shim.pid = int(state["pid"])
        shim.started = bool(state["started"])
        shim.execs = {name: int(pid) for name, pid in state["execs"].items()}
        shim.prepared.set_result(shim.pid)
        if not shim.started:
            await shim.discard()
            return None
        self._shims[directory.name] = shim
        if state.get("exit"):
            shim.ended = True
            self.callbacks.on_exit(directory.name, parse_exit(state["exit"]))
        return shim

    def clear(self, cid: str) -> None:
        """Remove what an ended shim left in its directory."""
        directory = self._root / cid
        for name in ("sock", "pid", "exit.json"):
            (directory / name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()
