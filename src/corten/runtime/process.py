"""The parent's hold on a child on its way to execve: messages, hooks, release, abort. Runs in shim and command line.

Shared by InitProcess (runtime/launch.py) and JoinedProcess (runtime/join.py).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from corten.linux.errors import reason
from corten.linux.namespaces import clone3
from corten.linux.process import ioprio_set, is_dumpable, pidfd_send_signal, sched_setattr, set_dumpable
from corten.runtime.channel import Channel, ChannelClosed
from corten.runtime.failure import StartFailed
from corten.runtime.steps.base import INIT_PREFIX, close_all

# Longer than any honest step takes (a network file system that has to be mounted), and still an end.
DEFAULT_TIMEOUT_S = 120.0

_MAX_CPUS = 8192
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}


def clone_hidden(flags: int, *, cgroup_fd: int | None) -> tuple[int, int]:
    """clone3 with the child not dumpable from its first moment, since strangers may share its pid namespace."""
    dumpable = is_dumpable()
    if dumpable:
        set_dumpable(False)
    pid, pidfd = clone3(flags, cgroup_fd=cgroup_fd)
    if pid and dumpable:
        set_dumpable(True)
    return pid, pidfd


class ChildProcess:
    """A cloned child that waits for what to do. `pid` is the caller's child; `pidfd` is this object's to close."""

    def __init__(self, pid: int, pidfd: int, channel: Channel) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.returncode: int | None = None  # the exit status as a shell has it, once the process was waited for
        self.timeout_s = DEFAULT_TIMEOUT_S
        self.trace: list[tuple[str, int]] = []  # (step, nanoseconds) when the request asked for it
        self._channel = channel
        self._hooks: Callable[[], None] | None = None
        self._ready = False

    def wait_ready(self) -> None:
        """Return when all is done but execve. Raises StartFailed; the child is reaped then."""
        if not self._ready:
            message, _ = self._await("ready")
            self.trace = [(str(name), int(spent)) for name, spent in message.get("trace") or ()]
            self._ready = True
            if "CORTEN_TRACE" in os.environ:
                print_trace(self.trace)

    def release(self) -> None:
        """Let it execve; return when that has happened. Raises StartFailed; the child is reaped then."""
        try:
            self._channel.send_request({"go": True})
            message, _ = self._channel.receive(self.timeout_s)
        except (ChannelClosed, OSError) as error:
            if isinstance(error, TimeoutError):
                self.abort()
                raise StartFailed("exec", 0, "timed out waiting for execve") from error
            self._channel.close()
            return
        self.abort()
        raise StartFailed.from_json(message)

    def abort(self) -> None:
        """Kill and reap; safe to call at any time."""
        self._channel.close()
        with contextlib.suppress(OSError):
            pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._reap()

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended. Raises OSError (EPERM, EINVAL)."""
        with contextlib.suppress(ProcessLookupError):
            pidfd_send_signal(self.pidfd, number)

    def wait(self) -> int:
        """Wait for its end and reap it: the exit status, or 128 + the signal that ended it."""
        self._reap()
        if self.returncode is None:
            raise ChildProcessError(f"process {self.pid} was waited for by somebody else")
        return self.returncode

    def close(self) -> None:
        """Close the descriptors; the process goes on."""
        self._channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _reap(self) -> int | None:
        """The wait status, or None when somebody else has taken it."""
        if self.returncode is not None:
            return None
        try:
            status = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:
            return None
        code = os.waitstatus_to_exitcode(status)
        self.returncode = code if code >= 0 else 128 - code
        return status

    def _send(self, request: dict[str, Any], fds: Mapping[str, int]) -> None:
        """Send the request; `fds` by name stay the caller's."""
        try:
            self._channel.send_request({**request, "fds": list(fds)}, list(fds.values()))
        except OSError as error:
            raise self._died() from error
        except ValueError as error:
            self.abort()
            raise StartFailed("spec", 0, str(error)) from error

    def _await(self, kind: str) -> tuple[dict[str, Any], list[int]]:
        """The next message of this kind; hooks that the child asks for are run on the way."""
        while True:
            try:
                message, fds = self._channel.receive(self.timeout_s)
            except TimeoutError as error:
                self.abort()
                raise StartFailed("init", 0, f"no progress within {self.timeout_s:.0f} seconds") from error
            except (ChannelClosed, OSError) as error:
                raise self._died() from error
            if message.get("type") == kind:
                return message, fds
            close_all(fds)
            if message.get("type") == "failed":
                self.abort()
                raise StartFailed.from_json(message)
            if message.get("type") == "hooks" and self._hooks is not None:
                try:
                    self._hooks()
                    self._channel.send_request({"go": True})
                except BaseException:
                    self.abort()
                    raise

    def _died(self) -> StartFailed:
        self._channel.close()
        status = self._reap()
        if status is None:
            return StartFailed("init", 0, f"{INIT_PREFIX}the process ended before it was ready")
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            return StartFailed("init", 0, "container init was killed (memory limit too low?)")
        return StartFailed("init", 0, f"{INIT_PREFIX}the process ended before it was ready (status {code})")

    def _apply_from_outside(self, process: Mapping[str, Any]) -> None:
        """What the host's privileges are needed for: rlimits, oom score, priorities. Raises StartFailed."""
        apply_rlimits(self.pid, process.get("rlimits") or ())
        score = process.get("oomScoreAdj")
        if score is not None:
            try:
                with open(f"/proc/{self.pid}/oom_score_adj", "w", encoding="ascii") as file:
                    file.write(str(score))
            except OSError as error:
                raise StartFailed.from_error("oom_score_adj", error, f"write /proc/{self.pid}/oom_score_adj") from error
        try:
            _apply_priorities(self.pid, process)
        except (KeyError, ValueError) as error:
            raise StartFailed("priority", 22, f"invalid scheduler or ioPriority: {error}") from error
        except OSError as error:
            raise StartFailed.from_error("priority", error, "error setting scheduler or ioPriority") from error


def apply_rlimits(pid: int, rlimits: Sequence[Mapping[str, Any]]) -> None:
    """Set OCI `process.rlimits` on a process. Raises StartFailed, worded as runc's."""
    for entry in rlimits:
        kind = entry.get("type", "")
        number = getattr(resource, kind, None) if kind.startswith("RLIMIT_") else None
        if not isinstance(number, int):
            raise StartFailed("rlimits", 22, f"wrong rlimit value: {kind}")
        # RLIM_INFINITY is -1 in Python and 2^64-1 in the spec.
        soft, hard = (-1 if value >= (1 << 64) - 1 else value for value in (entry["soft"], entry["hard"]))
        try:
            resource.prlimit(pid, number, (soft, hard))
        except (OSError, ValueError, OverflowError) as error:
            code = (error.errno or 0) if isinstance(error, OSError) else 22
            text = f"error setting rlimits for ready process: error setting rlimit type {number}: {reason(code)}"
            raise StartFailed("rlimits", code, text) from error


def print_trace(trace: Sequence[tuple[str, int]]) -> None:
    """Show on stderr what each step did and took; for `corten oci --debug` and whoever sets CORTEN_TRACE."""
    lines = [f"{spent / 1e6:9.3f} ms  {name}\n" for name, spent in trace]
    lines.append(f"{sum(spent for _, spent in trace) / 1e6:9.3f} ms  in all\n")
    sys.stderr.write("".join(lines))


def parse_cpus(text: str) -> set[int]:
    """The CPUs of a list like "0-3,7" (cpuset(7), "List format"). Raises ValueError."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high < _MAX_CPUS:
            raise ValueError(f"CPU list {text!r}")
        cpus.update(range(low, high + 1))
    return cpus


def _apply_priorities(pid: int, process: Mapping[str, Any]) -> None:
    io = process.get("ioPriority")
    if io:
        ioprio_set(pid, _IO_CLASSES[io["class"]], io.get("priority") or 0)
    affinity = process.get("execCPUAffinity") or {}
    cpus = affinity.get("final") or affinity.get("initial")
    if cpus:
        os.sched_setaffinity(pid, parse_cpus(cpus))
    scheduler = process.get("scheduler")
    if scheduler:
        flags = 0
        for name in scheduler.get("flags") or ():
            flags |= _SCHED_FLAGS[name]
        sched_setattr(
            pid,
            policy=_POLICIES[scheduler["policy"]],
            flags=flags,
            nice=scheduler.get("nice") or 0,
            priority=scheduler.get("priority") or 0,
            runtime=scheduler.get("runtime") or 0,
            deadline=scheduler.get("deadline") or 0,
            period=scheduler.get("period") or 0,
        )
