"""A process that stands in a container's cgroups and forks launchers there: execs without a move. cgroup v1 only.

A move into a v1 hierarchy waits for an RCU grace period, ten milliseconds and more; a fork inside costs nothing of the
kind. (v2 has CLONE_INTO_CGROUP.) The shim keeps a porter for some seconds after a second exec followed a first one; it
never waits for it: whatever a porter does not do, because it is gone or the container has no process left to fork, is
done without one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from corten.linux.cgroup import Cgroup, cgroup_mounts
from corten.linux.process import pidfd_open, set_name
from corten.shim import protocol
from corten.shim.launcher import Link, become_launcher, launch_exec
from corten.shim.launching import HeldProcess, Launcher, LauncherGone
from corten.shim.reactor import IN, Reactor

NAME = "corten-porter"
IDLE_S = 10.0


class Porter:
    """The shim's hold on a container's porter: there is none until execs come in quick succession."""

    def __init__(self, reactor: Reactor, cgroup: Cgroup) -> None:
        self._reactor = reactor
        self._cgroup = cgroup
        self._socket: socket.socket | None = None
        self._last = -IDLE_S
        self._moves = cgroup_mounts().mode != "v2"

    def start(self, request: protocol.Message, fds: list[int]) -> HeldProcess:
        """A process that `launch_exec(request, fds)` makes. Raises StartFailed, OSError."""
        launcher = self._inside(request, fds)
        if launcher is None:
            launcher = Launcher.fork(lambda link: launch_exec(link, self._cgroup, request, fds), keep=fds)
        process = _made(launcher)
        process.adopt_later(self._reactor)
        return process

    def _inside(self, request: protocol.Message, fds: list[int]) -> Launcher | None:
        """A launcher at work inside the cgroup; None when there is none, and then none will be."""
        recent = time.monotonic() - self._last < IDLE_S
        self._last = time.monotonic()
        if self._socket is None:
            if recent and self._moves:
                self._fork()
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            protocol.send(self._socket, request, [theirs.fileno(), *fds])
        except OSError:  # it has gone home
            ours.close()
            self.close()
            return None
        finally:
            theirs.close()
        launcher = Launcher(ours)
        try:
            launcher.begun()
        except LauncherGone:  # the porter went home, or could not fork
            launcher.close()
            return None
        except BaseException:
            launcher.close()
            raise
        return launcher

    def close(self) -> None:
        """Let it end; it is reaped when it has, which may be late: the container may be paused."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _fork(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            pid = os.fork()
            if pid == 0:
                become_launcher(theirs, lambda _link: _serve(theirs, self._cgroup))
            pidfd = pidfd_open(pid)
        except OSError:  # the machine is full: execs go on without
            ours.close()
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._reactor.watch(pidfd, IN, lambda _events: self._ended(pidfd, ours))

    def _ended(self, pidfd: int, sock: socket.socket) -> None:
        self._reactor.forget(pidfd)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        if self._socket is sock:  # and not that of the next one
            self.close()


def _made(launcher: Launcher) -> HeldProcess:
    """Its process. A launcher that has made none ends, and is waited for unless it is stuck."""
    try:
        process, console = launcher.made()
        process.console = console
    except BaseException:
        launcher.end()
        raise
    launcher.close()
    return process


def _serve(sock: socket.socket, cgroup: Cgroup) -> None:
    """In the porter: fork launchers until nobody has wanted one for a while, or the shim is gone."""
    set_name(NAME)
    score = _set_oom_score("-1000")  # it is none of the container's processes that the kernel may choose from
    cgroup.add(os.getpid())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sock.settimeout(IDLE_S)
    receiver = protocol.Receiver(sock)
    while True:
        while (item := receiver.take()) is None:
            try:
                if not receiver.fill():
                    return
            except TimeoutError:
                return
        message, fds = item
        try:
            pid = os.fork()
        except OSError:  # the container's limit of processes: the shim sees the answer's socket close
            pid = -1
        if pid == 0:
            _launch(message, fds, score)
        for fd in fds:
            os.close(fd)


def _launch(message: protocol.Message, fds: list[int], score: str) -> None:
    """In the porter's child; does not return."""
    answer, *rest = fds
    _set_oom_score(score)

    def work(link: Link) -> None:
        link.reply({}, [])  # Launcher.begun
        launch_exec(link, None, message, rest)

    become_launcher(socket.socket(fileno=answer), work, keep=rest)


def _set_oom_score(score: str) -> str:
    """Write oom_score_adj of this process, proc_pid_oom_score_adj(5), if it may be lowered; what it was before."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        before = file.read().strip()
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(score)
    return before
