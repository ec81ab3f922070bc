"""Processes and waits for the cgroup tests: children that start when told, and end with their test."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Callable

from corten.linux.cgroup import cgroup_mounts

PATIENCE_S = 60.0


class Task:
    """A forked child that waits for `go` and then runs `work`; its exit code is what that returns."""

    def __init__(self, work: Callable[[], int | None]) -> None:
        gate, self._go = os.pipe()
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._go)
                os.read(gate, 1)
                os._exit(work() or 0)
            except BaseException:
                os._exit(99)
        os.close(gate)

    def go(self) -> None:
        """Let the child run."""
        os.write(self._go, b"x")

    def wait(self) -> int:
        """Its exit code, or minus the signal that killed it."""
        if self.code is None:
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
            os.close(self._go)
        return self.code

    def run(self) -> int:
        """go and wait."""
        self.go()
        return self.wait()

    def close(self) -> None:
        """End it, whatever it does."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class Counter:
    """A number in memory that is shared with a child."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def value(self) -> int:
        """The number now."""
        return int(struct.unpack_from("=Q", self._memory)[0])

    def count_for_ever(self) -> None:
        """The child's work."""
        number = 0
        while True:
            number += 1
            struct.pack_into("=Q", self._memory, 0, number)


def burn_cpu(seconds: float) -> None:
    """Use that much CPU time (not wall time)."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def wait_until(condition: Callable[[], bool]) -> None:
    """Until the kernel says so; for states that no event tells of."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        os.sched_yield()


def directories(path: str) -> list[str]:
    """The cgroup's directory in each hierarchy of this machine."""
    mounts = cgroup_mounts()
    roots = [one.mountpoint for one in mounts.v1] + [root for root in [mounts.unified] if root]
    return [root + path for root in roots]
