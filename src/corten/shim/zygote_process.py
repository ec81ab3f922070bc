"""Starts the zygote and talks to it; starts another when it died. Daemon only.

posix_spawn, since the daemon may have threads by the time a zygote must be replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import corten
from corten.shim import protocol

_LOG = logging.getLogger("corten.zygote")
_FD = 3


class ZygoteProcess:
    """The daemon's handle on the zygote."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)  # as it was given: the daemon raises its own
        self._ending: list[int] = []  # not reaped yet
        self.pid = 0

    def ensure(self) -> None:
        """Start a zygote unless one runs. Raises OSError."""
        if self._socket is not None:
            return
        self._reap(os.WNOHANG)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        source = str(Path(corten.__file__).parent.parent)
        program = f"import sys; sys.path.insert(0, {source!r}); from corten.shim.zygote import main; main({_FD})"
        argv = [sys.executable, "-I", "-S", "-c", program]
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), _FD)]
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        if "CORTEN_TRACE" in os.environ:  # each start's steps and their times on stderr
            environment["CORTEN_TRACE"] = "1"
        try:
            self.pid = os.posix_spawn(sys.executable, argv, environment, file_actions=actions, setsid=False)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        with contextlib.suppress(ProcessLookupError):  # it forks nothing before it is asked
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self._descriptors)
        ours.settimeout(10)
        self._socket = ours

    def send(self, request: protocol.Message, fds: Sequence[int]) -> int:
        """Ask for a shim or sockets; returns the pid of the zygote that was asked, for `give_up`. One that died is
        replaced once. Raises OSError."""
        for last in (False, True):
            self.ensure()
            assert self._socket is not None
            try:
                protocol.send(self._socket, request, fds)
            except OSError:
                _LOG.warning("the zygote (pid %d) died; starting another", self.pid)
                self.give_up(self.pid)
                if last:
                    raise
            else:
                return self.pid
        raise AssertionError  # the last try returns or raises

    def give_up(self, pid: int) -> None:
        """The zygote with this pid did not answer: the next request gets another one. Nothing is done when that has
        happened already: others may be waiting for the new one's answers. Does not wait for its end."""
        if pid != self.pid or self._socket is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._socket.close()
        self._socket, self.pid = None, 0
        self._ending.append(pid)
        self._reap(os.WNOHANG)

    def _reap(self, options: int) -> None:
        for pid in list(self._ending):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, options)[0] == 0:
                    continue
            self._ending.remove(pid)

    def close(self) -> None:
        """Let it end, and reap it."""
        if self._socket is not None:
            self._socket.close()
            self._ending.append(self.pid)
            self._socket, self.pid = None, 0
        self._reap(0)
