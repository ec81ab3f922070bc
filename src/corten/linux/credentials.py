"""Raw credentials of the calling thread: capget(2), capset(2), bounding and ambient sets, ids, session keyring.

Capability sets are plain integers here, bit n for capability n; names live in capabilities.py. Called by init and by
processes that join a container. Ids are set by raw calls: the process has one thread, and libc's wrappers would
signal threads that a raw clone never told it about.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from corten.linux.errors import SyscallError
from corten.linux.process import prctl
from corten.linux.syscalls import PY_LIBC, check, raw

PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
_MAX_CAPABILITY = 64


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


_CapData = ctypes.c_uint32 * 6  # effective, permitted, inheritable; then their upper halves

_capget = raw("capget", ctypes.c_void_p, ctypes.c_void_p)
_capset = raw("capset", ctypes.c_void_p, ctypes.c_void_p, library=PY_LIBC)
_keyctl = raw("keyctl", ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_long)
_setgroups = raw("setgroups", ctypes.c_size_t, ctypes.c_void_p)
_setfsgid = raw("setfsgid", ctypes.c_uint)
_setfsuid = raw("setfsuid", ctypes.c_uint)
_setresgid = raw("setresgid", ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
_setresuid = raw("setresuid", ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)


def capget() -> tuple[int, int, int]:
    """The effective, permitted and inheritable sets of this thread. capget(2)."""
    header = _CapHeader(_LINUX_CAPABILITY_VERSION_3, 0)
    data = _CapData()
    check(_capget(ctypes.addressof(header), ctypes.addressof(data)), "capget")
    return data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32


class Capset:
    """A prepared capset(2), so that running it after a seccomp filter makes exactly one system call."""

    def __init__(self, *, effective: int, permitted: int, inheritable: int) -> None:
        low = 0xFFFFFFFF
        self._header = _CapHeader(_LINUX_CAPABILITY_VERSION_3, 0)
        self._data = _CapData(
            effective & low, permitted & low, inheritable & low, effective >> 32, permitted >> 32, inheritable >> 32
        )
        self._addresses = ctypes.addressof(self._header), ctypes.addressof(self._data)

    def run(self) -> None:
        """Set the three sets of this thread."""
        check(_capset(*self._addresses), "capset")


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets of this thread. capset(2)."""
    Capset(effective=effective, permitted=permitted, inheritable=inheritable).run()


def bounding_set() -> int:
    """The bounding set of this thread."""
    result = 0
    for number in range(_MAX_CAPABILITY):
        try:
            result |= prctl(PR_CAPBSET_READ, number) << number
        except SyscallError:
            break
    return result


def drop_bounding(keep: int) -> None:
    """Drop every capability outside `keep` from the bounding set."""
    for number in range(_MAX_CAPABILITY):
        if keep >> number & 1:
            continue
        try:
            prctl(PR_CAPBSET_DROP, number)
        except SyscallError as error:
            if error.errno == 22:  # EINVAL: past the last capability that this kernel knows
                break
            raise


def set_ambient(wanted: int) -> None:
    """Make the ambient set exactly `wanted` (each must be permitted and inheritable)."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(_MAX_CAPABILITY):
        if wanted >> number & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def setgroups(groups: Sequence[int]) -> None:
    """Set the supplementary groups. setgroups(2)."""
    array = (ctypes.c_uint32 * len(groups))(*groups)
    check(_setgroups(len(groups), ctypes.addressof(array)), "setgroups")


def setfsgid(gid: int) -> int:
    """Set the group id that files are opened with; returns the one of before, and never fails. setfsgid(2)."""
    return _setfsgid(gid)


def setfsuid(uid: int) -> int:
    """Set the user id that files are opened with; returns the one of before, and never fails. setfsuid(2)."""
    return _setfsuid(uid)


def setresgid(gid: int) -> None:
    """Set the real, effective and saved group id. setresgid(2)."""
    check(_setresgid(gid, gid, gid), "setresgid")


def setresuid(uid: int) -> None:
    """Set the real, effective and saved user id. setresuid(2)."""
    check(_setresuid(uid, uid, uid), "setresuid")


def join_session_keyring(name: str) -> None:
    """Replace the session keyring by a new one of that name. keyctl(2), KEYCTL_JOIN_SESSION_KEYRING."""
    check(_keyctl(_KEYCTL_JOIN_SESSION_KEYRING, name.encode(), 0, 0, 0), "keyctl", name)
