"""seccomp(2): install a filter that was compiled before (see seccomp.py). Runs in init, as the last thing it does."""

from __future__ import annotations

import ctypes

from corten.linux.errors import SyscallError
from corten.linux.syscalls import PY_LIBC, check, raw

SECCOMP_SET_MODE_FILTER = 1
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0x1,
    "SECCOMP_FILTER_FLAG_LOG": 0x2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 0x4,
    "SECCOMP_FILTER_FLAG_NEW_LISTENER": 0x8,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0x20,
}
_INSTRUCTION_SIZE = 8
_MAX_INSTRUCTIONS = 4096

_seccomp = raw("seccomp", ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, library=PY_LIBC)


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class SeccompFilter:
    """A filter laid out in memory, so that installing it makes exactly one system call."""

    def __init__(self, program: bytes, flags: int = 0) -> None:
        count, rest = divmod(len(program), _INSTRUCTION_SIZE)
        if rest or not 0 < count <= _MAX_INSTRUCTIONS:
            raise SyscallError(22, "seccomp", hint=f"a filter of {len(program)} bytes")
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._fprog = _SockFprog(count, ctypes.addressof(self._buffer))
        self._address = ctypes.addressof(self._fprog)
        self._flags = flags

    def load(self) -> int:
        """Install the filter; with the NEW_LISTENER flag the descriptor of its notifications is returned."""
        return check(_seccomp(SECCOMP_SET_MODE_FILTER, self._flags, self._address), "seccomp")
