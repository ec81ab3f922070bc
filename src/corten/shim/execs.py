"""One process started inside a running container. Runs in the shim."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from corten.runtime.join import JoinedProcess
from corten.shim.pipes import open_pipes, set_window_size
from corten.shim.reactor import IN, Reactor
from corten.shim.stdio import Client, Streams

if TYPE_CHECKING:
    from corten.linux.cgroup import Cgroup
    from corten.runtime.launch import InitProcess

_ORPHAN_S = 0.5  # a child that outlives the exec may hold its output open no longer than this


class Exec:
    """A joined process and its streams; `on_exit(code)` is called once all of its output has been read."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        container_id: str,
        init: InitProcess,
        spec: dict[str, Any],
        process: dict[str, Any],
        open_stdin: bool,
        cgroup: Cgroup,
        seccomp_filter: bytes | None,
        clients: list[Client],
        on_exit: Callable[[int], None],
        on_detach: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._on_exit = on_exit
        self._code: int | None = None
        self._reported = False
        tty = bool(process.get("terminal"))
        pipes = None if tty else open_pipes(stdin=open_stdin)
        try:
            self._process = JoinedProcess.spawn(
                init,
                spec=spec,
                process=process,
                stdio=pipes.child if pipes is not None else None,
                cgroup=cgroup,
                seccomp_filter=seccomp_filter,
                container_id=container_id,
            )
        except BaseException:
            if pipes is not None:
                pipes.close()
            raise
        self.pid = self._process.pid
        self._console = -1
        self.streams = Streams(
            reactor, tty=tty, log=None, close_stdin=True, on_detach=on_detach, on_drained=self._maybe_done
        )
        if pipes is None:
            self._console = self._process.console
            stdin_fd = os.dup(self._console) if open_stdin else -1
            sources = {os.dup(self._console): "stdout"}
        else:
            pipes.close_child()
            stdin_fd, sources = pipes.stdin, {pipes.stdout: "stdout", pipes.stderr: "stderr"}
        for client in clients:
            self.streams.attach(client)
        self.streams.connect(stdin_fd=stdin_fd, sources=sources)
        reactor.watch(self._process.pidfd, IN, lambda _events: self._ended())

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size; nothing for a process without one."""
        if self._console >= 0:
            set_window_size(self._console, width, height)

    def signal(self, number: int) -> None:
        """Send a signal; an ended process is none of our business."""
        if self._code is None:
            self._process.signal(number)

    def _ended(self) -> None:
        self._reactor.forget(self._process.pidfd)
        self._code = self._process.wait()
        self.streams.drain()
        if not self.streams.drained:
            self._reactor.after(_ORPHAN_S, self.streams.abandon)
        self._maybe_done()

    def _maybe_done(self) -> None:
        if self._code is not None and self.streams.drained and not self._reported:
            self._reported = True
            self._on_exit(self._code)

    def close(self) -> None:
        """Give clients the rest of the output and close everything."""
        self.streams.finish()
        if self._console >= 0:
            os.close(self._console)
            self._console = -1
