"""One container's keeper: streams, log, exit status, execs. Runs in the shim process, forked by the zygote.

It starts in the *prepared* state: a launcher has made the container's cgroup and init, which waits in its namespaces.
On `start` it hands the launcher the OCI spec, unread. It owns the process's streams (stdio.py) and waits for it by
pidfd; when init ends it writes `exit.json`, tells the daemon, and stays until the daemon says `discard` or is gone. It
depends on neither daemon nor zygote: a new daemon connects to `<dir>/sock` and says `hello`.

It is kept small (docs/performance.md): whatever needs the runtime is done by launchers.

A prepared shim whose daemon goes away undoes everything; a started one goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

from corten.lib.atomicfile import write_atomic
from corten.linux.cgroup import Cgroup, open_cgroup
from corten.linux.errors import SyscallError
from corten.runtime.failure import StartFailed
from corten.shim import protocol
from corten.shim.control import Control
from corten.shim.execs import Exec
from corten.shim.launcher import launch_container
from corten.shim.launching import HeldProcess, Launcher
from corten.shim.logs import JsonFileLog, replay
from corten.shim.pipes import Pipes, open_pipes, set_window_size
from corten.shim.porter import Porter
from corten.shim.reactor import IN, Reactor
from corten.shim.stdio import Client, Streams

_FLUSH_S = 10.0  # how long a client that does not read may delay the shim's end
_ORPHAN_S = 0.5  # how long a process may hold the output of an ended one open


class Shim:
    """The state of one shim process."""

    def __init__(self, control: socket.socket, request: dict[str, Any]) -> None:
        self.cid: str = request["id"]
        self.dir: str = request["dir"]
        self._sandbox = request
        self.reactor = Reactor()
        self._control = Control(self.reactor, control, handler=self._handle, on_gone=self._daemon_gone)
        self.init: HeldProcess | None = None
        self._launcher: Launcher | None = None
        self._porter: Porter | None = None
        self._document = -1  # what was started, as a descriptor: only launchers read it
        self._started = False
        self._exit: dict[str, Any] | None = None
        self._window: tuple[int, int] | None = None
        self._log: JsonFileLog | None = None
        self._log_path = ""
        self._streams = self._new_streams(tty=False)
        self._pending: dict[str, list[Client]] = {}
        self._execs: dict[str, Exec] = {}
        self._code, self._oom_seen, self._ended = 0, False, False

    @property
    def cgroup(self) -> Cgroup:
        """Made anew for each use: the launcher needs it, and the end."""
        return open_cgroup(self._sandbox["cgroup"])

    # -- prepared

    def prepare(self, sketch: int) -> None:
        """Let a launcher make the cgroup and init; listen, and say so. Raises what fails; the caller undoes."""
        os.mkdir(self.dir, 0o700)
        keep = [sketch] if sketch >= 0 else []
        self._launcher = Launcher.fork(lambda link: launch_container(link, self.cgroup, self._sandbox, keep), keep=keep)
        for fd in keep:
            os.close(fd)
        self._control.listen(self.dir)
        self.init = self._launcher.made()
        self.reactor.watch(self.init.pidfd, IN, lambda _events: self._init_ended())
        write_atomic(f"{self.dir}/pid", f"{os.getpid()} {self.init.pid}\n".encode(), durable=False)
        self._control.send({"ev": "prepared", "pid": self.init.pid, "shim": os.getpid()})

    def run(self) -> None:
        """Serve until there is nothing left to keep."""
        while not self._ended:
            self.reactor.run_once()

    def undo(self) -> None:
        """Leave nothing behind: init, cgroup, directory."""
        if self._launcher is not None:
            self._launcher.end()  # before a start it takes init along
            self._launcher = None
        self._remove_cgroup()
        self._unlink("sock", "pid", "exit.json")
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.dir)

    def _unlink(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.dir}/{name}")

    def _remove_cgroup(self) -> None:
        with contextlib.suppress(OSError):
            self.cgroup.kill()
        with contextlib.suppress(OSError):
            self.cgroup.remove()

    # -- the daemon's words

    def _daemon_gone(self) -> None:
        if not self._started:
            self.undo()
            self._ended = True
        elif self._exit is not None:
            self._end(keep_exit=True)

    def _handle(self, message: protocol.Message, fds: list[int]) -> protocol.Message:
        handler = getattr(self, "_on_" + str(message.get("do")), None)
        if handler is None:
            raise protocol.ProtocolError(f"unknown request {message.get('do')!r}")
        reply: protocol.Message | None = handler(message, fds)
        return reply or {}

    def _on_hello(self, _message: protocol.Message, _fds: list[int]) -> protocol.Message:
        return {
            "version": protocol.VERSION,
            "pid": self.init.pid if self.init is not None else 0,
            "started": self._started,
            "exit": self._exit,
            "execs": {name: entry.pid for name, entry in self._execs.items()},
        }

    def _on_sync(self, _message: protocol.Message, _fds: list[int]) -> None:
        """Events are sent in order on the same socket, so the reply itself says that they are out."""

    # -- start

    def _on_start(self, message: protocol.Message, fds: list[int]) -> protocol.Message:
        init, launcher = self.init, self._launcher
        if init is None or launcher is None or self._started or self._exit is not None:
            raise protocol.ProtocolError("start: not in the prepared state")
        tty = bool(message.get("tty"))
        pipes: Pipes | None = None
        try:
            self._open_log(message.get("log") or {})
            if not tty:
                pipes = open_pipes(stdin=bool(message.get("open_stdin")))
            stdio = pipes.child if pipes is not None else ()
            reply, given = launcher.ask({"window": self._window, "root": len(fds) > 1}, [*fds, *stdio])
        except (StartFailed, OSError):
            if pipes is not None:
                pipes.close()
            self._start_failed()
            raise
        self._started = True
        self._document = os.dup(fds[0])
        if reply["oom"]:
            self._watch_oom(given.pop(0))
        init.console = given[0] if given else -1
        self._begin_streams(message, pipes=pipes, console=init.console)
        launcher.close()
        self._launcher = None
        init.adopt_later(self.reactor)
        return {"pid": init.pid}

    def _begin_streams(self, message: protocol.Message, *, pipes: Pipes | None, console: int) -> None:
        waiting = self._pending.pop("", [])
        self._streams = self._new_streams(tty=pipes is None, close_stdin=bool(message.get("stdin_once")))
        if pipes is None:
            stdin_fd = os.dup(console) if message.get("open_stdin") else -1
            sources = {os.dup(console): "stdout"}
        else:
            pipes.close_child()
            stdin_fd, sources = pipes.stdin, {pipes.stdout: "stdout", pipes.stderr: "stderr"}
        for client in waiting:
            self._attach(self._streams, client)
        self._streams.connect(stdin_fd=stdin_fd, sources=sources)

    def _start_failed(self) -> None:
        """The launcher takes init back, whether it was asked or not; if it was killed, init is here."""
        assert self.init is not None
        if self._launcher is not None:
            self._launcher.end()
            self._launcher = None
        self.reactor.forget(self.init.pidfd)
        self.init.kill()
        self.init = None
        for client in self._pending.pop("", []):
            client.socket.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _open_log(self, log: dict[str, Any]) -> None:
        if log.get("driver") in ("json-file", "local") and log.get("path"):
            self._log_path = log["path"]
            self._log = JsonFileLog(
                log["path"], max_size=int(log.get("max_size") or 0), max_file=int(log.get("max_file") or 1)
            )

    def _new_streams(self, *, tty: bool, close_stdin: bool = False) -> Streams:
        return Streams(
            self.reactor,
            tty=tty,
            log=self._log,
            close_stdin=close_stdin,
            on_detach=lambda: self._control.send({"ev": "detach", "exec_id": ""}),
            on_drained=self._maybe_exit,
        )

    def _watch_oom(self, fd: int) -> None:
        def readable(_events: int) -> None:
            with contextlib.suppress(OSError):
                os.read(fd, 4096)
            # v1's eventfd also fires when the cgroup is removed, v2's watch for each limit event.
            if self.cgroup.oom_kills() > 0 and not self._oom_seen:
                self._oom_seen = True
                self._control.send({"ev": "oom"})

        self.reactor.watch(fd, IN, readable)

    # -- attach, resize, signal

    def _on_attach(self, message: protocol.Message, fds: list[int]) -> None:
        client = Client(
            os.dup(fds[0]),
            stdin=bool(message.get("stdin")),
            stdout=bool(message.get("stdout")),
            stderr=bool(message.get("stderr")),
            stream=bool(message.get("stream", True)),
            logs=bool(message.get("logs")),
            preface=bytes.fromhex(message.get("preface") or ""),
            detach_keys=message.get("detach_keys") or "",
        )
        exec_id = message.get("exec_id") or ""
        entry = self._execs.get(exec_id)
        if exec_id and entry is not None:
            entry.streams.attach(client)
        elif not exec_id and self._started:
            self._attach(self._streams, client)
            if self._exit is not None:
                self._streams.finish()
        else:
            self._pending.setdefault(exec_id, []).append(client)

    def _attach(self, streams: Streams, client: Client) -> None:
        records = list(replay(self._log_path)) if client.logs and self._log_path else []
        if client.logs or client.stream:
            streams.attach(client)
            if client.logs:
                streams.replay(client, records)

    def _on_resize(self, message: protocol.Message, _fds: list[int]) -> None:
        width, height = int(message["width"]), int(message["height"])
        exec_id = message.get("exec_id") or ""
        if exec_id:
            self._exec(exec_id).resize(width, height)
        elif self.init is not None and self.init.console >= 0:
            set_window_size(self.init.console, width, height)
        else:
            self._window = (width, height)

    def _on_signal(self, message: protocol.Message, _fds: list[int]) -> None:
        exec_id = message.get("exec_id") or ""
        number = int(message["number"])
        if exec_id:
            self._exec(exec_id).signal(number)
        elif self.init is not None and self._exit is None:
            self.init.signal(number)

    # -- exec

    def _exec(self, exec_id: str) -> Exec:
        entry = self._execs.get(exec_id)
        if entry is None:
            raise protocol.ProtocolError(f"no such exec: {exec_id}")
        return entry

    def _on_exec(self, message: protocol.Message, fds: list[int]) -> protocol.Message:
        if self.init is None or not self._started or self._exit is not None:
            raise StartFailed("exec", 0, "container is not running")
        exec_id = message["exec_id"]
        open_stdin = bool(message.get("open_stdin"))
        clients = self._pending.pop(exec_id, [])
        pipes: Pipes | None = None
        try:
            if not message.get("tty"):
                pipes = open_pipes(stdin=open_stdin)
            stdio = pipes.child if pipes is not None else ()
            request = {"id": self.cid, "init": self.init.pid}
            if self._porter is None:
                self._porter = Porter(self.reactor, self.cgroup)
            process = self._porter.start(request, [self._document, fds[0], self.init.pidfd, *stdio])
        except BaseException:
            if pipes is not None:
                pipes.close()
            # The daemon holds a duplicate and tells the client why; only this one is closed here.
            for client in clients:
                client.socket.close()
            raise
        self._execs[exec_id] = Exec(
            self.reactor,
            process,
            pipes=pipes,
            open_stdin=open_stdin,
            clients=clients,
            on_exit=lambda code: self._exec_ended(exec_id, code),
            on_detach=lambda: self._control.send({"ev": "detach", "exec_id": exec_id}),
        )
        return {"pid": process.pid}

    def _exec_ended(self, exec_id: str, code: int) -> None:
        self._control.send({"ev": "exec_exit", "exec_id": exec_id, "code": code})
        entry = self._execs.pop(exec_id)
        entry.close()

    # -- the end

    def _init_ended(self) -> None:
        init = self.init
        assert init is not None
        self.reactor.forget(init.pidfd)
        if not self._started:  # killed while prepared; the launcher reaps it
            self._daemon_gone()
            return
        self._code = init.wait()
        if self._porter is not None:
            self._porter.close()
        with contextlib.suppress(OSError):
            self.cgroup.kill()  # what shares the container's cgroup but not its pid namespace
        self._streams.drain()
        self.reactor.after(_ORPHAN_S, self._streams.abandon)
        self._maybe_exit()

    def _maybe_exit(self) -> None:
        if self._exit is not None or self.init is None or self.init.returncode is None or not self._streams.drained:
            return
        if self._log is not None:
            self._log.close()
            self._log = None
        oom = False
        with contextlib.suppress(OSError, SyscallError):
            oom = self.cgroup.oom_kills() > 0
        self._exit = {"code": self._code, "oom": oom, "finished_ns": time.time_ns(), "pid": self.init.pid}
        write_atomic(f"{self.dir}/exit.json", json.dumps(self._exit).encode(), durable=False)
        self._control.send({"ev": "exit", **self._exit})
        self._streams.finish()
        if self.init.console >= 0:
            os.close(self.init.console)
            self.init.console = -1
        if not self._control.connected:
            self._end(keep_exit=True)

    def _on_discard(self, _message: protocol.Message, _fds: list[int]) -> None:
        self._end(keep_exit=False)

    def _end(self, *, keep_exit: bool) -> None:
        """Flush slow clients within bounds, remove what is ours, end."""
        deadline = time.monotonic() + _FLUSH_S
        self.reactor.after(_FLUSH_S, self._streams.drop_all)
        while self._streams.clients and time.monotonic() < deadline:
            self._streams.finish()
            if self._streams.clients:
                self.reactor.run_once()
        if keep_exit:
            self._remove_cgroup()
            self._unlink("sock", "pid")
        else:
            self.undo()
        self._ended = True


def main(control: socket.socket, request: dict[str, Any], sketch: int) -> None:
    """The whole life of a shim process; the zygote calls it in the child and exits after it."""
    shim = Shim(control, request)
    try:
        shim.prepare(sketch)
    except BaseException as error:
        with contextlib.suppress(OSError):
            protocol.send(control, {"ev": "failed", "text": f"{type(error).__name__}: {error}"})
        shim.undo()
        raise
    shim.run()
