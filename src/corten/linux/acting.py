"""Opening files with somebody else's rights, in one thread of a process that is root. Daemon; threads that may block.

Raw system calls change the calling thread alone (nptl(7): it is libc's wrappers that change all of them). The user and
groups for files are the other one's, and no capability is left in effect: files in /proc and /sys ask for those, not
for owners. Whoever comes from root keeps everything, as root does.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from corten.linux.credentials import capget, capset, setfsgid, setfsuid, setgroups
from corten.linux.errors import fail
from corten.linux.syscalls import check, libc

_SO_PEERGROUPS = 59
_GROUPS_LIMIT = 65536  # NGROUPS_MAX
_EPERM = 1
_NOBODY = (1 << 32) - 1  # an id that is none: the call tells the present one

_getsockopt = libc("getsockopt", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose rights: a user, its group and its supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT = Identity(0, 0)


def peer_of(sock: socket.socket) -> Identity:
    """Who connected to a unix socket, as they were then. unix(7), SO_PEERCRED, SO_PEERGROUPS. Raises OSError."""
    _pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = (ctypes.c_uint32 * _GROUPS_LIMIT)()  # Python's own getsockopt gives 1 KiB at most
    size = ctypes.c_uint32(ctypes.sizeof(groups))
    where = ctypes.addressof(groups), ctypes.addressof(size)
    check(_getsockopt(sock.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, *where), "getsockopt")
    return Identity(uid & _NOBODY, gid & _NOBODY, tuple(groups[: size.value // 4]))


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Open files as `identity` during the block, in this thread. Nothing may be yielded, awaited or forked in it.

    Raises SyscallError when the rights cannot be given up, RuntimeError in a block of this kind. A process that cannot
    take its own back is ended: a thread of a pool with somebody else's rights would fail at other work.
    """
    if identity.uid == 0:
        yield
        return
    groups = os.getgroups()
    effective, permitted, inheritable = capget()
    user, group = setfsuid(_NOBODY), setfsgid(_NOBODY)
    if user != os.geteuid():
        raise RuntimeError("this thread acts as somebody else already")
    try:
        setgroups(identity.groups)
        setfsgid(identity.gid)
        setfsuid(identity.uid)
        if setfsuid(_NOBODY) != identity.uid or setfsgid(_NOBODY) != identity.gid:
            fail(_EPERM, "setfsuid", hint=f"files cannot be read as user {identity.uid}")
        capset(effective=0, permitted=permitted, inheritable=inheritable)
        yield
    finally:
        try:
            setfsuid(user)
            capset(effective=effective, permitted=permitted, inheritable=inheritable)
            setfsgid(group)
            setgroups(groups)
        except OSError:
            os.abort()
        if setfsuid(_NOBODY) != user or setfsgid(_NOBODY) != group:  # they do not fail, they do nothing
            os.abort()
