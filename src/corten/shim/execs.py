"""One process started inside a running container: its streams and its end. Runs in the shim."""

from __future__ import annotations

import os
from collections.abc import Callable

from corten.shim.launching import HeldProcess
from corten.shim.pipes import Pipes, set_window_size
from corten.shim.reactor import IN, Reactor
from corten.shim.stdio import Client, Streams

_ORPHAN_S = 0.5  # a child that outlives the exec may hold its output open no longer than this


class Exec:
    """A process that a launcher has made, its `pipes` (None: a terminal), its clients.

    `on_exit(code)` is called once all of its output has been read.
    """

    def __init__(
        self,
        reactor: Reactor,
        process: HeldProcess,
        *,
        pipes: Pipes | None,
        open_stdin: bool,
        clients: list[Client],
        on_exit: Callable[[int], None],
        on_detach: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._process = process
        self._on_exit = on_exit
        self._code: int | None = None
        self._reported = False
        self.pid = process.pid
        self.streams = Streams(
            reactor, tty=pipes is None, log=None, close_stdin=True, on_detach=on_detach, on_drained=self._maybe_done
        )
        if pipes is None:
            stdin_fd = os.dup(process.console) if open_stdin else -1
            sources = {os.dup(process.console): "stdout"}
        else:
            pipes.close_child()
            stdin_fd, sources = pipes.stdin, {pipes.stdout: "stdout", pipes.stderr: "stderr"}
        for client in clients:
            self.streams.attach(client)
        self.streams.connect(stdin_fd=stdin_fd, sources=sources)
        reactor.watch(process.pidfd, IN, lambda _events: self._ended())

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size; nothing for a process without one."""
        if self._process.console >= 0:
            set_window_size(self._process.console, width, height)

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
        self._process.close()
