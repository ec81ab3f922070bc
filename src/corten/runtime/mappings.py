"""User namespace mappings: write them, and make a namespace only to describe an idmapped mount. Runs in the parent.

user_namespaces(7); mount_setattr(2) takes a mapping as the descriptor of a user namespace.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from corten.linux.errors import fail
from corten.linux.namespaces import CLONE_NEWUSER, clone3
from corten.linux.process import pidfd_send_signal

Mappings = Sequence[Mapping[str, Any]]
_MAX_EXTENTS = 340  # UID_GID_MAP_MAX_EXTENTS of the kernel


def mapping_text(mappings: Mappings) -> str:
    """The content of uid_map for OCI mappings. Raises ValueError on numbers that are none."""
    if len(mappings) > _MAX_EXTENTS:
        raise ValueError(f"{len(mappings)} id mappings, the kernel takes {_MAX_EXTENTS}")
    lines = []
    for entry in mappings:
        numbers = [entry["containerID"], entry["hostID"], entry["size"]]
        if any(not isinstance(number, int) or not 0 <= number < 1 << 32 for number in numbers):
            raise ValueError(f"invalid id mapping {entry!r}")
        lines.append(" ".join(map(str, numbers)))
    return "\n".join(lines) + "\n"


def _write(pid: int, name: str, text: str) -> None:
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def write_mappings(pid: int, uid_mappings: Mappings, gid_mappings: Mappings) -> None:
    """Write uid_map and gid_map of a process in a new user namespace.

    Without privileges only one's own ids can be mapped, and only after setgroups is switched off.
    """
    if os.geteuid() != 0:
        _write(pid, "setgroups", "deny")
    if uid_mappings:
        _write(pid, "uid_map", mapping_text(uid_mappings))
    if gid_mappings:
        _write(pid, "gid_map", mapping_text(gid_mappings))


def mapping_namespace(uid_mappings: Mappings, gid_mappings: Mappings) -> int:
    """A descriptor of a user namespace with these mappings, without any process in it."""
    if not uid_mappings or not gid_mappings:
        fail(22, "mount_setattr", hint="an idmapped mount needs uidMappings and gidMappings")
    read_end, write_end = os.pipe()
    pid, pidfd = clone3(CLONE_NEWUSER)
    if pid == 0:
        try:
            os.close(write_end)
            os.read(read_end, 1)
        finally:
            os._exit(0)
    try:
        write_mappings(pid, uid_mappings, gid_mappings)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        pidfd_send_signal(pidfd, 9)
        os.waitpid(pid, 0)
        for fd in (read_end, write_end, pidfd):
            os.close(fd)
