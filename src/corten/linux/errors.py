"""Kernel failures as one exception. Any process; stdlib only; imports nothing heavy (the zygote loads it).

A wrapper in this package never returns an error code: it raises SyscallError, which is an OSError, so that callers
who know nothing of system calls handle it like any other (errno, strerror, filename).
"""

from __future__ import annotations

import errno as _errno
import os
from typing import NoReturn

_HINTS = {
    ("clone3", _errno.ENOSYS): "the kernel is older than 5.3, or a seccomp filter around this process hides clone3",
    ("clone3", _errno.EPERM): "creating namespaces needs CAP_SYS_ADMIN, or user namespaces are switched off",
    ("clone3", _errno.ENOSPC): "the limit of namespaces in /proc/sys/user/max_*_namespaces is reached",
    ("unshare", _errno.ENOSPC): "the limit of namespaces in /proc/sys/user/max_*_namespaces is reached",
    ("openat2", _errno.ENOSYS): "the kernel is older than 5.6, or a seccomp filter around this process hides openat2",
    ("mount_setattr", _errno.ENOSYS): "the kernel is older than 5.12",
    ("pivot_root", _errno.EINVAL): "the root may be an initramfs; the runtime's --no-pivot option works there",
}


class SyscallError(OSError):
    """A system call failed: `syscall` by its man page name, `path` it was about (may be empty), `hint` for a person.

    As with OSError itself, what is raised is a FileNotFoundError, PermissionError and so on too, by its errno.
    """

    def __new__(cls, number: int, syscall: str, path: str | bytes | int | None = None, hint: str = "") -> SyscallError:
        """The class that fits the errno."""
        del syscall, hint
        kind = _KINDS.get(number, cls) if cls is SyscallError else cls
        name = "" if path is None or isinstance(path, int) else os.fsdecode(path)
        return OSError.__new__(kind, number, os.strerror(number), name or None)

    def __init__(self, number: int, syscall: str, path: str | bytes | int | None = None, hint: str = "") -> None:
        self.syscall = syscall
        self.path = "" if path is None or isinstance(path, int) else os.fsdecode(path)
        self.hint = hint or _HINTS.get((syscall, number), "")

    def __str__(self) -> str:
        text = f"{self.syscall} {self.path}".rstrip() + f": {reason(self.errno or 0)}"
        return f"{text} ({self.hint})" if self.hint else text


class _PermissionError(SyscallError, PermissionError): ...


class _NotFoundError(SyscallError, FileNotFoundError): ...


class _ExistsError(SyscallError, FileExistsError): ...


class _NotADirectoryError(SyscallError, NotADirectoryError): ...


class _IsADirectoryError(SyscallError, IsADirectoryError): ...


class _NoProcessError(SyscallError, ProcessLookupError): ...


class _WouldBlockError(SyscallError, BlockingIOError): ...


_KINDS: dict[int, type[SyscallError]] = {
    _errno.EPERM: _PermissionError,
    _errno.EACCES: _PermissionError,
    _errno.ENOENT: _NotFoundError,
    _errno.EEXIST: _ExistsError,
    _errno.ENOTDIR: _NotADirectoryError,
    _errno.EISDIR: _IsADirectoryError,
    _errno.ESRCH: _NoProcessError,
    _errno.EAGAIN: _WouldBlockError,
}


def reason(number: int) -> str:
    """The text of an errno as Go programs word it ("no such file or directory"), which Docker's clients know."""
    text = os.strerror(number)
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def fail(number: int, syscall: str, path: str | bytes | int | None = None, hint: str = "") -> NoReturn:
    """Raise SyscallError for errno `number`."""
    raise SyscallError(number, syscall, path, hint)
