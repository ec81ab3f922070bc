"""The shim's hold on launchers (launcher.py) and on the processes that they have made. Runs in the shim.

Of what is imported here a shim touches little: the work is done in the fork.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Sequence

from corten.linux.process import pidfd_send_signal
from corten.runtime.failure import StartFailed
from corten.shim import protocol
from corten.shim.launcher import Link, become_launcher
from corten.shim.reactor import IN, Reactor

# Longer than any step that the runtime bounds; a launcher in a paused container's cgroup answers no sooner than that.
_ANSWER_S = 300.0


class LauncherGone(StartFailed):
    """It ended without an answer: it was killed, or could not be forked."""

    def __init__(self) -> None:
        super().__init__("launcher", 0, "the process that starts containers was killed")


class HeldProcess:
    """A container's process: the shim's child as soon as its launcher has ended. Owns its descriptors."""

    __slots__ = ("_launcher", "_reactor", "console", "pid", "pidfd", "returncode")

    def __init__(self, pid: int, pidfd: int, launcher: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._launcher = launcher  # its pidfd, -1 once it has ended
        self._reactor: Reactor | None = None
        self.console = -1  # the terminal's master, -1: none
        self.returncode: int | None = None  # as a shell has it: 128 + the signal, once it was waited for

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended. Raises OSError (EPERM, EINVAL)."""
        with contextlib.suppress(ProcessLookupError):
            pidfd_send_signal(self.pidfd, number)

    def adopt_later(self, reactor: Reactor) -> None:
        """Reap the launcher when it has ended, as it does by itself after its last answer or when it is closed."""
        self._reactor = reactor
        reactor.watch(self._launcher, IN, lambda _events: self.adopt())

    def adopt(self) -> None:
        """`adopt_later` now: wait for the launcher's end."""
        if self._launcher < 0:
            return
        if self._reactor is not None:
            self._reactor.forget(self._launcher)
        poll = select.poll()
        poll.register(self._launcher, select.POLLIN)  # readable once its children have a new parent: exit_notify()
        poll.poll()
        launcher, self._launcher = self._launcher, -1
        try:
            os.waitid(os.P_PIDFD, launcher, os.WEXITED)
        except ChildProcessError:
            return  # a porter's child is not ours to reap
        finally:
            os.close(launcher)

    def wait(self) -> int:
        """Wait for its end and reap it: the exit status, or 128 + the signal that ended it."""
        self.adopt()
        if self.returncode is None:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.returncode = code if code >= 0 else 128 - code
        return self.returncode

    def kill(self) -> None:
        """End it for good, whoever reaps it; its launcher is gone or about to go."""
        self.signal(9)
        self.adopt()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Let go of what is left of an ended process."""
        for fd in (self.pidfd, self.console):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console = -1


class Launcher:
    """A launcher at work, at the other end of `sock`."""

    def __init__(self, sock: socket.socket, pid: int = 0) -> None:
        sock.settimeout(_ANSWER_S)
        self._socket = sock
        self._receiver = protocol.Receiver(sock)
        self._pid = pid  # when it is our own child and not a porter's

    @classmethod
    def fork(cls, work: Callable[[Link], None], *, keep: Sequence[int] = ()) -> Launcher:
        """Start one that does `work`. Raises OSError (EAGAIN: the machine is full)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            pid = os.fork()
            if pid == 0:
                become_launcher(theirs, work, keep=keep)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(ours, pid)

    def ask(self, message: protocol.Message, fds: Sequence[int] = ()) -> tuple[protocol.Message, list[int]]:
        """Send a request and take its answer. Raises StartFailed, LauncherGone."""
        try:
            protocol.send(self._socket, message, fds)
        except OSError as error:
            raise LauncherGone from error
        return self._answer()

    def begun(self) -> None:
        """A porter's launcher is at work: from now on nobody else may do the same. Raises LauncherGone."""
        self._answer()

    def made(self) -> tuple[HeldProcess, int]:
        """The answer that names the process it has made, and the descriptor that came along (-1: none): a container's
        listening socket, an exec's console. Raises StartFailed, LauncherGone."""
        message, fds = self._answer()
        return HeldProcess(int(message["pid"]), fds[0], fds[1]), fds[2] if len(fds) > 2 else -1

    def _answer(self) -> tuple[protocol.Message, list[int]]:
        """The next answer. Raises StartFailed, LauncherGone."""
        while (item := self._receiver.take()) is None:
            try:
                alive = self._receiver.fill()
            except TimeoutError as error:
                raise StartFailed("launcher", 0, f"no answer within {_ANSWER_S:.0f} seconds: is it paused?") from error
            except OSError as error:
                raise LauncherGone from error
            if not alive:
                raise LauncherGone
        failure = item[0].get("error")
        if failure is not None:
            raise StartFailed.from_json(failure)
        return item

    def close(self) -> None:
        """Nothing more is wanted: it undoes what has not started, and ends on its own."""
        self._receiver.close()
        self._socket.close()

    def end(self) -> None:
        """`close`, and return when it has ended and is reaped."""
        self.close()
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0
