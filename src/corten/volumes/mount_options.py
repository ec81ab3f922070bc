"""The local driver's options (`type`, `device`, `o`) into what mount(2) takes. Pure.

The options are those of mount(8) for the `o` string; names that are no flags are data for the file system.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from corten.errors import InvalidArgument
from corten.linux.mount import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
)

_NOATIME, _NODIRATIME, _RELATIME, _STRICTATIME, _SYNC, _DIRSYNC, _MANDLOCK = (
    0x400,
    0x800,
    0x200000,
    0x1000000,
    0x10,
    0x80,
    0x40,
)
# name: (bits to set, bits to clear)
_FLAGS = {
    "defaults": (0, 0),
    "ro": (MS_RDONLY, 0),
    "rw": (0, MS_RDONLY),
    "nosuid": (MS_NOSUID, 0),
    "suid": (0, MS_NOSUID),
    "nodev": (MS_NODEV, 0),
    "dev": (0, MS_NODEV),
    "noexec": (MS_NOEXEC, 0),
    "exec": (0, MS_NOEXEC),
    "sync": (_SYNC, 0),
    "async": (0, _SYNC),
    "dirsync": (_DIRSYNC, 0),
    "mand": (_MANDLOCK, 0),
    "nomand": (0, _MANDLOCK),
    "noatime": (_NOATIME, 0),
    "atime": (0, _NOATIME),
    "nodiratime": (_NODIRATIME, 0),
    "diratime": (0, _NODIRATIME),
    "relatime": (_RELATIME, 0),
    "norelatime": (0, _RELATIME),
    "strictatime": (_STRICTATIME, 0),
    "nostrictatime": (0, _STRICTATIME),
    "bind": (MS_BIND, 0),
    "rbind": (MS_BIND | MS_REC, 0),
}
_PROPAGATIONS = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
}
_KNOWN = {"type", "o", "device", "size"}
_REQUIRES = {"type": ("device",), "device": ("type",), "o": ("device", "type")}
_FSTYPE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_MAX_DATA = 4095  # mount(2) takes one page, its end included


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPlan:
    """One mount(2). `address` is a host name within `data` that network file systems need as an address."""

    fstype: str
    device: str
    flags: int
    data: str
    propagation: int = 0
    address: str = ""


def check(options: Mapping[str, str]) -> None:
    """Refuse unknown and incomplete options. Raises InvalidArgument with Docker's texts."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(f'invalid option: "{name}"')
    if "size" in options:
        raise InvalidArgument(
            "quota size requested but no quota support",
            hint="for a tmpfs volume give the size in o: --opt type=tmpfs --opt device=tmpfs --opt o=size=100m",
        )
    for name, required in _REQUIRES.items():
        for other in required:
            if options.get(name) and not options.get(other):
                raise InvalidArgument(f'missing required option: "{other}"')
    plan(options)


def plan(options: Mapping[str, str]) -> MountPlan | None:
    """The mount that the options ask for, or None. Raises InvalidArgument."""
    device, fstype = options.get("device", ""), options.get("type", "")
    if not device:
        return None
    if not _FSTYPE.match(fstype):
        raise InvalidArgument(f"invalid volume type: {fstype[:64]!r}")
    flags, propagation, data = _sorted(options.get("o", ""))
    address = ""
    if fstype.startswith(("nfs", "cifs")):
        address = next((option.removeprefix("addr=") for option in data if option.startswith("addr=")), "")
    if fstype in {"bind", "rbind"}:
        flags |= MS_BIND | (MS_REC if fstype == "rbind" else 0)
    text = ",".join(data)
    if len(text.encode()) > _MAX_DATA or "\0" in text + device:
        raise InvalidArgument("invalid mount options")
    if flags & MS_BIND and not device.startswith("/"):
        raise InvalidArgument(f"invalid device of a bind volume: {device}: must be an absolute path")
    return MountPlan(fstype=fstype, device=device, flags=flags, data=text, propagation=propagation, address=address)


def _sorted(options: str) -> tuple[int, int, list[str]]:
    """(flags, propagation, data) of an `o` string."""
    flags = propagation = 0
    data: list[str] = []
    for option in options.split(","):
        if option in _FLAGS:
            on, off = _FLAGS[option]
            flags = (flags | on) & ~off
        elif option in _PROPAGATIONS:
            propagation = _PROPAGATIONS[option]
        elif option:
            data.append(option)
    return flags, propagation, data
