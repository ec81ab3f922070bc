"""The door to libc and to raw system calls; the files beside this one wrap them by kernel area. Any process.

Numbers are those of <asm/unistd.h> for x86_64 and for the generic table (aarch64). Wrappers keep the kernel's names
and raise SyscallError. CDLL releases the interpreter lock around a call, so that a slow mount does not hold up other
threads of the daemon; PY_LIBC does not, for calls that must come back in the very same state (clone, execve).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from corten.linux.errors import SyscallError, fail

LIBC = ctypes.CDLL(None, use_errno=True)
PY_LIBC = ctypes.PyDLL(None, use_errno=True)

MACHINE = os.uname().machine

# The number on x86_64 and the number on aarch64, by name.
_NUMBERS = {
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "execveat": (322, 281),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "ioprio_set": (251, 30),
    "keyctl": (250, 219),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "setfsgid": (123, 152),
    "setfsuid": (122, 151),
    "setgroups": (116, 159),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}

Path = str | bytes


def number(name: str) -> int:
    """The number of a system call on this machine. Raises SyscallError(ENOSYS) on other architectures."""
    column = _COLUMN.get(MACHINE)
    if column is None:
        fail(38, name, hint=f"the architecture {MACHINE} is not supported")
    return _NUMBERS[name][column]


def raw(name: str, *kinds: Any, library: ctypes.CDLL = LIBC) -> Callable[..., int]:
    """A callable for the raw system call `name`, `kinds` being the ctypes of its arguments; -1 means error."""
    function = library["syscall"]
    function.argtypes = [ctypes.c_long, *kinds]
    function.restype = ctypes.c_long
    call_number = number(name) if MACHINE in _COLUMN else -1

    def call(*args: Any) -> int:
        result: int = function(call_number, *args)
        return result

    return call


def libc(name: str, *kinds: Any, library: ctypes.CDLL = LIBC) -> Callable[..., int]:
    """The libc function `name` returning int, with its argument types set once."""
    function = library[name]
    function.argtypes = list(kinds)
    function.restype = ctypes.c_int
    return function


def check(result: int, syscall: str, path: Path | int | None = None) -> int:
    """`result`, or SyscallError with the current errno when it is negative."""
    if result < 0:
        raise SyscallError(ctypes.get_errno(), syscall, path)
    return result


def encoded(path: Path) -> bytes:
    """A path as the kernel takes it. Raises ValueError on a NUL byte, which C would cut silently."""
    data = path if isinstance(path, bytes) else os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"path with a NUL byte: {path!r}")
    return data
