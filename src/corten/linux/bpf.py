"""bpf(2) by ctypes: as much of it as a cgroup v2 device program needs. Stdlib only, blocking, any process.

Programs are assembled in `cgroup.devices`; here they are loaded and attached. Facts: bpf(2), linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from corten.linux.errors import SyscallError
from corten.linux.syscalls import check, raw

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2
BPF_F_REPLACE = 4

_LICENSE = ctypes.create_string_buffer(b"Apache")
_LOG_BYTES = 1 << 16
_MAX_PROGRAMS = 64
_ATTR_BYTES = 128

_raw_bpf = raw("bpf", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


def _bpf(command: int, attr: ctypes.Array[ctypes.c_char], what: str) -> int:
    return check(_raw_bpf(command, ctypes.addressof(attr), _ATTR_BYTES), f"bpf({what})")


def _attr(form: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    # The kernel takes a longer attr than it knows as long as the rest is zero.
    return ctypes.create_string_buffer(struct.pack(form, *values).ljust(_ATTR_BYTES, b"\0"), _ATTR_BYTES)


def load_cgroup_device(program: bytes) -> int:
    """Load a BPF_PROG_TYPE_CGROUP_DEVICE program; returns its fd, which the caller closes. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))

    def attempt(log: ctypes.Array[ctypes.c_char] | None) -> int:
        return _bpf(
            BPF_PROG_LOAD,
            _attr(
                "=IIQQIIQ",
                BPF_PROG_TYPE_CGROUP_DEVICE,
                len(program) // 8,
                ctypes.addressof(code),
                ctypes.addressof(_LICENSE),
                0 if log is None else 1,
                0 if log is None else len(log),
                0 if log is None else ctypes.addressof(log),
            ),
            "BPF_PROG_LOAD",
        )

    try:
        return attempt(None)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise
    # Only the verifier's log says why.
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return attempt(log)
    except OSError as error:
        reason = log.value.decode("ascii", "replace").strip().rpartition("\n")[2]
        raise SyscallError(error.errno or 0, "bpf(BPF_PROG_LOAD)", hint=reason) from error


def cgroup_device_programs(cgroup_fd: int) -> list[int]:
    """The ids of the device programs attached to the cgroup itself."""
    ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attr = _attr("=IIIIQI", cgroup_fd, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MAX_PROGRAMS)
    _bpf(BPF_PROG_QUERY, attr, "BPF_PROG_QUERY")
    count = struct.unpack_from("=I", attr.raw, 24)[0]
    return list(ids[:count])


def set_cgroup_device_program(cgroup_fd: int, program: bytes) -> None:
    """Make `program` the cgroup's only device program. At no moment is there none where there was one."""
    new = load_cgroup_device(program)
    old: list[int] = []
    try:
        for program_id in cgroup_device_programs(cgroup_fd):
            old.append(_bpf(BPF_PROG_GET_FD_BY_ID, _attr("=I", program_id), "BPF_PROG_GET_FD_BY_ID"))  # noqa: PERF401 - closed below if a later call fails
        if len(old) == 1 and _replace(cgroup_fd, new, old[0]):
            return
        attr = _attr("=IIIII", cgroup_fd, new, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI, 0)
        _bpf(BPF_PROG_ATTACH, attr, "BPF_PROG_ATTACH")
        for fd in old:
            _bpf(BPF_PROG_DETACH, _attr("=III", cgroup_fd, fd, BPF_CGROUP_DEVICE), "BPF_PROG_DETACH")
    finally:
        # An attached program lives on without its fd.
        for fd in (new, *old):
            os.close(fd)


def _replace(cgroup_fd: int, new: int, old: int) -> bool:
    """Swap `old` for `new` in one step; False on kernels before 5.6, where both are attached for a moment."""
    flags = BPF_F_ALLOW_MULTI | BPF_F_REPLACE
    try:
        _bpf(BPF_PROG_ATTACH, _attr("=IIIII", cgroup_fd, new, BPF_CGROUP_DEVICE, flags, old), "BPF_PROG_ATTACH")
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the machine's first."""
    with open("/proc/self/uid_map", encoding="ascii") as uid_map:
        return uid_map.read().split() != ["0", "0", "4294967295"]
