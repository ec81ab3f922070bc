"""OCI mount options into what the mount calls take: a pure table. Stdlib only.

Names are those of the runtime-spec, "Linux mount options", and of mount(8). Whatever is no name of the table is an
option of the file system itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from corten.linux.mount import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)

# name: (bits to set, bits to clear); "r" before a name makes it recursive.
_ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "relatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "atime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "norelatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
}
_PROPAGATIONS = {
    "private": (MS_PRIVATE, False),
    "rprivate": (MS_PRIVATE, True),
    "slave": (MS_SLAVE, False),
    "rslave": (MS_SLAVE, True),
    "shared": (MS_SHARED, False),
    "rshared": (MS_SHARED, True),
    "unbindable": (MS_UNBINDABLE, False),
    "runbindable": (MS_UNBINDABLE, True),
}
_RECURSIVE = {"r" + name: bits for name, bits in _ATTRIBUTES.items() if name not in {"relatime", "norelatime"}}
# Words that ask for nothing: the default, or mount(8)'s own business.
_IGNORED = frozenset({"defaults", "async", "auto", "noauto", "user", "nouser", "_netdev", "nofail", "loud", "silent"})
ATTRIBUTE_NAMES = tuple(sorted([*_ATTRIBUTES, *_RECURSIVE]))
PROPAGATION_NAMES = tuple(sorted(_PROPAGATIONS))


class MountOptions:
    """Mount options, sorted by what they are for."""

    __slots__ = (
        "attr_clr",
        "attr_set",
        "bind",
        "data",
        "idmap",
        "propagations",
        "rec_clr",
        "rec_set",
        "recursive",
        "tmpcopyup",
    )

    def __init__(self) -> None:
        self.attr_set = self.attr_clr = self.rec_set = self.rec_clr = 0
        self.bind = self.recursive = self.tmpcopyup = False
        self.idmap = ""
        self.propagations: list[tuple[int, bool]] = []
        self.data: list[tuple[str, str | None]] = []

    @property
    def read_only(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool((self.attr_set | self.rec_set) & MOUNT_ATTR_RDONLY)


def parse_options(options: Sequence[str]) -> MountOptions:
    """Sort `options`; a later word wins over an earlier one that contradicts it."""
    result = MountOptions()
    for option in options:
        if option in _ATTRIBUTES:
            on, off = _ATTRIBUTES[option]
            result.attr_set = result.attr_set & ~off | on
            result.attr_clr = result.attr_clr & ~on | off
        elif option in _PROPAGATIONS:
            result.propagations.append(_PROPAGATIONS[option])
        elif option in {"bind", "rbind"}:
            result.bind = True
            result.recursive = option == "rbind"
        elif option in _RECURSIVE:
            on, off = _RECURSIVE[option]
            result.rec_set = result.rec_set & ~off | on
            result.rec_clr = result.rec_clr & ~on | off
        elif option == "tmpcopyup":
            result.tmpcopyup = True
        elif option in {"idmap", "ridmap"}:
            result.idmap = option
        elif option and option not in _IGNORED:
            key, separator, value = option.partition("=")
            result.data.append((key, value if separator else None))
    # An atime mode replaces another one: the kernel wants the whole field cleared with it (mount_setattr(2)).
    return result


def new_mount_attributes(options: MountOptions) -> int:
    """The MOUNT_ATTR_* of a new file system's mount, which starts from nothing."""
    return options.attr_set | options.rec_set
