"""clone3, unshare, setns: namespaces(7). Called by single-threaded processes only (zygote, shim, init, command line).

`clone3` is a fork that also makes namespaces, enters a cgroup and returns a pidfd. The interpreter's own fork
bookkeeping (PyOS_BeforeFork and friends) runs around it, as in os.fork.
"""

from __future__ import annotations

import ctypes
import errno
import signal

from corten.linux.errors import SyscallError
from corten.linux.syscalls import PY_LIBC, check, libc, raw

CLONE_NEWTIME = 0x00000080
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# OCI's name of a namespace type: (its flag, its file in /proc/<pid>/ns)
TYPES = {
    "user": (CLONE_NEWUSER, "user"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "network": (CLONE_NEWNET, "net"),
    "pid": (CLONE_NEWPID, "pid"),
    "time": (CLONE_NEWTIME, "time"),
    "mount": (CLONE_NEWNS, "mnt"),
}


class _CloneArgs(ctypes.Structure):
    """struct clone_args of <linux/sched.h>, its third version (88 bytes)."""

    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("pidfd", ctypes.c_uint64),
        ("child_tid", ctypes.c_uint64),
        ("parent_tid", ctypes.c_uint64),
        ("exit_signal", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("stack_size", ctypes.c_uint64),
        ("tls", ctypes.c_uint64),
        ("set_tid", ctypes.c_uint64),
        ("set_tid_size", ctypes.c_uint64),
        ("cgroup", ctypes.c_uint64),
    ]


_clone3 = raw("clone3", ctypes.c_void_p, ctypes.c_size_t, library=PY_LIBC)
_clone = raw(
    "clone",
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    library=PY_LIBC,
)
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
for _function in (_before_fork, _after_fork_child, _after_fork_parent):
    _function.argtypes = []
    _function.restype = None

_unshare = libc("unshare", ctypes.c_int)
_setns = libc("setns", ctypes.c_int, ctypes.c_int)


def clone3(flags: int, *, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Fork with `flags`: (pid, pidfd) in the parent, (0, -1) in the child, which goes on here. clone(2).

    The parent must have one thread. With CLONE_PARENT the child is a sibling and inherits the exit signal. Where
    clone3 is hidden (ENOSYS inside other containers' seccomp filters) clone is used, which cannot do CLONE_NEWTIME
    nor CLONE_INTO_CGROUP.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd))
    if not flags & CLONE_PARENT:
        args.exit_signal = signal.SIGCHLD
    if cgroup_fd is not None:
        args.flags |= CLONE_INTO_CGROUP
        args.cgroup = cgroup_fd
    address, size = ctypes.addressof(args), ctypes.sizeof(args)
    _before_fork()
    pid = _clone3(address, size)
    if pid == 0:
        _after_fork_child()
        return 0, -1
    failure = ctypes.get_errno() if pid < 0 else 0
    if failure == errno.ENOSYS and not args.flags & (CLONE_NEWTIME | CLONE_INTO_CGROUP):
        pid = _clone(args.flags | args.exit_signal, None, ctypes.addressof(pidfd), None, None)
        if pid == 0:
            _after_fork_child()
            return 0, -1
        failure = ctypes.get_errno() if pid < 0 else 0
    _after_fork_parent()
    if failure:
        raise SyscallError(failure, "clone3")
    return pid, pidfd.value


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for new ones. unshare(2)."""
    check(_unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace of `fd`, or with a pidfd all those of `flags` at once. setns(2)."""
    check(_setns(fd, flags), "setns")
