"""Attributes of a process: prctl(2), pidfds, close_range(2), personality(2), priorities. Any process."""

from __future__ import annotations

import ctypes
import os

from corten.linux.syscalls import PY_LIBC, Path, check, encoded, libc, raw

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLOSE_RANGE_CLOEXEC = 0x4
_CLOSE_RANGE_LAST = 0xFFFFFFFF

_prctl = libc("prctl", ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_prctl_name = libc("prctl", ctypes.c_int, ctypes.c_char_p)
_signal = libc("signal", ctypes.c_int, ctypes.c_void_p)
_close_range = raw("close_range", ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
_pidfd_open = raw("pidfd_open", ctypes.c_int, ctypes.c_uint)
_pidfd_getfd = raw("pidfd_getfd", ctypes.c_int, ctypes.c_int, ctypes.c_uint)
_pidfd_send_signal = raw("pidfd_send_signal", ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
_personality = libc("personality", ctypes.c_ulong)
_setdomainname = libc("setdomainname", ctypes.c_char_p, ctypes.c_size_t)
_sethostname = libc("sethostname", ctypes.c_char_p, ctypes.c_size_t)
_ioprio_set = raw("ioprio_set", ctypes.c_int, ctypes.c_int, ctypes.c_int)
_sched_setattr = raw("sched_setattr", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
_execve = libc("execve", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, library=PY_LIBC)
_execveat = raw(
    "execveat", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, library=PY_LIBC
)
_AT_EMPTY_PATH = 0x1000


class _SchedAttr(ctypes.Structure):
    """struct sched_attr, first version (48 bytes)."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2) with integer arguments."""
    return check(_prctl(option, arg2, arg3, arg4, arg5), "prctl")


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid others to look into this process's memory, descriptors and executable. PR_SET_DUMPABLE."""
    prctl(PR_SET_DUMPABLE, int(dumpable))


def is_dumpable() -> bool:
    """Whether this process is dumpable (2, "root only", counts as no)."""
    return prctl(PR_GET_DUMPABLE) == 1


def set_no_new_privs() -> None:
    """No execve of this process or its children gains privileges any more. PR_SET_NO_NEW_PRIVS."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_child_subreaper() -> None:
    """Orphans below this process become its children. PR_SET_CHILD_SUBREAPER."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_parent_death_signal(number: int) -> None:
    """Get signal `number` when the parent thread ends. PR_SET_PDEATHSIG."""
    prctl(PR_SET_PDEATHSIG, number)


def set_name(name: str) -> None:
    """The name that ps shows as comm, 15 bytes at most. PR_SET_NAME."""
    check(_prctl_name(PR_SET_NAME, name.encode()[:15]), "prctl")


def default_signal(number: int) -> None:
    """Give an ignored signal its default action again, signal(2). For what is forked from the zygote: signal.signal
    turns its arguments and its result into enums, which costs every shim 0.1 MB of pages that it writes to."""
    check(_signal(number, None), "signal")


def close_range(first: int, last: int = _CLOSE_RANGE_LAST, flags: int = 0) -> None:
    """Close descriptors `first` to `last`, or with CLOSE_RANGE_CLOEXEC mark them. close_range(2)."""
    if first <= last:
        check(_close_range(first, last, flags), "close_range")


def pidfd_open(pid: int) -> int:
    """A descriptor of a process that no later process with the same number can take over. pidfd_open(2)."""
    return check(_pidfd_open(pid, 0), "pidfd_open", str(pid))


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A copy of another process's descriptor. pidfd_getfd(2)."""
    return check(_pidfd_getfd(pidfd, fd, 0), "pidfd_getfd")


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Signal exactly that process. Raises SyscallError (ESRCH: it has ended). pidfd_send_signal(2)."""
    check(_pidfd_send_signal(pidfd, number, None, 0), "pidfd_send_signal")


def personality(persona: int) -> None:
    """Set the execution domain. personality(2)."""
    check(_personality(persona), "personality")


def sethostname(name: str) -> None:
    """Set the host name of the UTS namespace. sethostname(2)."""
    data = encoded(name)
    check(_sethostname(data, len(data)), "sethostname", name)


def setdomainname(name: str) -> None:
    """Set the NIS domain name of the UTS namespace. setdomainname(2)."""
    data = encoded(name)
    check(_setdomainname(data, len(data)), "setdomainname", name)


def ioprio_set(pid: int, io_class: int, priority: int) -> None:
    """Set the I/O scheduling class and priority of a process. ioprio_set(2)."""
    check(_ioprio_set(1, pid, io_class << 13 | priority), "ioprio_set")


def sched_setattr(
    pid: int,
    *,
    policy: int,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """Set the scheduling policy of a process. sched_setattr(2)."""
    attr = _SchedAttr(48, policy, flags, nice, priority, runtime, deadline, period)
    check(_sched_setattr(pid, ctypes.addressof(attr), 0), "sched_setattr")


class Execve:
    """A prepared execve(2), or execveat(2) of an open file: all memory is laid out before, so that running it makes
    exactly one system call.

    That matters after a seccomp filter is loaded: whatever else the interpreter asked the kernel could be refused.
    """

    def __init__(self, program: Path | int, argv: list[str], environment: list[str]) -> None:
        self._fd = program if isinstance(program, int) else -1
        self._path = b"" if isinstance(program, int) else encoded(program)
        self._kept = [*map(os.fsencode, argv), *map(os.fsencode, environment)]
        self._argv = (ctypes.c_char_p * (len(argv) + 1))(*self._kept[: len(argv)], None)
        self._envp = (ctypes.c_char_p * (len(environment) + 1))(*self._kept[len(argv) :], None)
        self._addresses = ctypes.addressof(self._argv), ctypes.addressof(self._envp)

    def run(self) -> int:
        """Replace this process; when that fails, return the errno."""
        if self._fd >= 0:
            _execveat(self._fd, self._path, *self._addresses, _AT_EMPTY_PATH)
        else:
            _execve(self._path, *self._addresses)
        return ctypes.get_errno()
