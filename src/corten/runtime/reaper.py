"""`--init`: process 1 of the container reaps orphans and forwards signals; the command runs as its child.

The reaper is what is left of the forked init: one Python process whose pages are mostly shared with its shim. It has
the container's ids, capabilities and seccomp filter, no descriptor but the standard ones, and is not dumpable.
Behaves as tini (Docker's docker-init) does: the command gets a process group of its own and the terminal, and its exit
status becomes the container's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from corten.linux.process import set_name

# Not forwarded: raised by one's own faults, or meant for a background process that touches the terminal.
_KEPT = frozenset(
    {
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)


def run_below_reaper(run: Callable[[], NoReturn], channel_fd: int) -> NoReturn:
    """Fork: the child does `run`, this process becomes the reaper and ends with the child's status."""
    waited = signal.valid_signals() - _KEPT
    signal.pthread_sigmask(signal.SIG_SETMASK, waited)
    pid = os.fork()
    if pid == 0:
        _lead_own_group()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        run()
    if channel_fd >= 0:
        os.close(channel_fd)
    set_name("corten-init")
    _reap(pid, waited)


def _lead_own_group() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # no terminal
        os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def _reap(pid: int, waited: set[signal.Signals]) -> NoReturn:
    while True:
        number = signal.sigwait(waited)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
            continue
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if ended == 0:
                break
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
