"""What cgroup2 itself offers without controllers: kill, freeze, events; v2 and hybrid machines both use it.

Stdlib only, blocking. Facts: Documentation/admin-guide/cgroup-v2.rst "Core Interface Files": cgroup.freeze since
5.2, cgroup.kill since 5.14; where a file is missing the functions answer False and the caller has another way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any, Protocol

from corten.errors import FailedPrecondition
from corten.linux.cgroup.files import read_or, write_text
from corten.linux.errors import SyscallError

_KILL_S = 5.0


class _Killable(Protocol):
    def pids(self) -> list[int]: ...
    def freeze(self) -> None: ...


def _try_write(path: str, value: str) -> bool:
    try:
        write_text(path, value)
    except FileNotFoundError:
        return False
    return True


def _event(text: str, name: str) -> bool:
    return f"{name} 1" in text.splitlines()


def kill_by_file(directory: str) -> bool:
    """SIGKILL to the whole subtree by one write, which cannot race with forks. False when there is no such file."""
    return _try_write(directory + "/cgroup.kill", "1")


def kill_by_signals(cgroup: _Killable) -> None:
    """SIGKILL to each process until none is left that did not get it; for kernels without cgroup.kill.

    A process is held by a pidfd and must be listed again after that was opened: no recycled pid is ever hit.
    """
    # No forks while we list; the caller thaws. If it cannot be frozen, the loop has to win the race.
    with contextlib.suppress(OSError, FailedPrecondition):
        cgroup.freeze()
    deadline = time.monotonic() + _KILL_S
    signalled: set[int] = set()
    while pending := [pid for pid in cgroup.pids() if pid not in signalled]:
        held: dict[int, int] = {}
        try:
            for pid in pending:
                try:
                    held[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
            for pid in held.keys() & set(cgroup.pids()):
                try:
                    signal.pidfd_send_signal(held[pid], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                signalled.add(pid)
        finally:
            for fd in held.values():
                os.close(fd)
        if time.monotonic() >= deadline:
            raise SyscallError(errno.ETIMEDOUT, "kill", hint="processes appear faster than they can be killed")


def freeze_by_file(directory: str, timeout_s: float) -> bool:
    """Freeze the subtree and wait until it is. Raises OSError ETIMEDOUT, thawed again. False: no cgroup.freeze."""
    if not _try_write(directory + "/cgroup.freeze", "1"):
        return False
    if not _wait(directory, "frozen", wanted=True, timeout_s=timeout_s):
        write_text(directory + "/cgroup.freeze", "0")
        raise SyscallError(errno.ETIMEDOUT, "freeze", directory, "processes did not stop in time")
    return True


def thaw_by_file(directory: str) -> bool:
    """Undo freeze_by_file. False: no cgroup.freeze."""
    return _try_write(directory + "/cgroup.freeze", "0")


def is_frozen_by_file(directory: str) -> bool:
    """Whether the subtree was frozen by cgroup.freeze."""
    return read_or(directory + "/cgroup.freeze", "0").strip() == "1"


def wait_empty(directory: str, timeout_s: float) -> bool:
    """Wait until no process is left in the subtree; False when the time is over first."""
    return _wait(directory, "populated", wanted=False, timeout_s=timeout_s)


def _wait(directory: str, name: str, *, wanted: bool, timeout_s: float) -> bool:
    # cgroup.events raises POLLPRI on each change since its last read.
    deadline = time.monotonic() + timeout_s
    try:
        fd = os.open(directory + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return not wanted
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while True:
            try:
                text = os.pread(fd, 4096, 0).decode()
            except OSError as error:
                if error.errno == errno.ENODEV:  # removed meanwhile
                    return not wanted
                raise
            if _event(text, name) == wanted:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    finally:
        os.close(fd)


def check_memory_limit(memory: Mapping[str, Any], usage: int) -> None:
    """OCI `memory.checkBeforeUpdate`: refuse a limit below what is used now, which would end in an OOM kill."""
    for name in ("limit", "swap"):
        value = memory.get(name)
        if isinstance(value, int) and 0 < value < usage:
            raise FailedPrecondition(f"rejecting memory {name} {value}: below the current usage of {usage} bytes")
