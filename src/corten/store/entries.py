"""What an entry of a layer's tar may say, whatever the layer is stored as. Pure.

Names, whiteouts, numbers and extended attributes: each rule is here once, so that every way to store layers refuses the
same tars with the same words. Source of whiteouts: the OCI image specification, "Representing Changes".
"""

from __future__ import annotations

import os
from collections.abc import Callable

from corten.lib.tar import Entry, InvalidTar

Attributes = tuple[int, int, int]  # mode, uid, gid
Inherited = Callable[[tuple[bytes, ...]], Attributes | None]  # of a directory in the layers below, by path

_NAME_LIMIT = 255
_PATH_LIMIT = 4095
_OWNER_LIMIT = (1 << 32) - 2  # the number above means "leave it as it is" to chown(2)
_DEVICE_LIMIT = (1 << 12, 1 << 20)  # majors and minors that Linux has
_OPAQUE_MARK = b".wh..wh..opq"
_DROPPED_XATTRS = (b"trusted.overlay.", b"user.overlay.")

WHITEOUT = b".wh."
IMPLICIT: Attributes = (0o755, 0, 0)  # of a directory that is used and neither named nor in a layer below
OPAQUE = b""  # what `hidden_by` says of the mark that hides all of a directory


def split_name(name: bytes, *, whiteouts: bool = False) -> tuple[bytes, ...]:
    """The components of an entry's name, relative to the root. Raises InvalidTar on `..` and on what is too long.

    With `whiteouts` the last one may be the mark of a name of full length: it is no name in a file system itself.
    """
    if len(name) > _PATH_LIMIT:
        raise InvalidTar(f"a file name of {len(name)} bytes is too long")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    for number, part in enumerate(parts, 1):
        if part == b"..":
            raise InvalidTar(f"{os.fsdecode(name)!r} leads out of the layer")
        is_mark = whiteouts and number == len(parts) and part.startswith(WHITEOUT)
        if len(part) > _NAME_LIMIT + len(WHITEOUT) * is_mark:
            raise InvalidTar(f"a file name of {len(part)} bytes is too long")
    return parts


def hidden_by(name: bytes) -> bytes | None:
    """The name that whiteout `name` hides, OPAQUE for a whole directory, None for a mark of no meaning.

    Raises InvalidTar for a whiteout of no name.
    """
    if name == _OPAQUE_MARK:
        return OPAQUE
    if name.startswith(b".wh..wh."):
        return None  # AUFS' own bookkeeping (.wh..wh.plnk and the like) means nothing to other file systems
    target = name[len(WHITEOUT) :]
    if target in (b"", b".", b".."):
        raise InvalidTar(f"invalid whiteout {os.fsdecode(name)!r}")
    return target


def link_source(entry: Entry, *, layer: bool = True) -> tuple[bytes, ...]:
    """What a hard link leads to. Raises InvalidTar when that can be nothing."""
    source = split_name(entry.link)
    if not source or (layer and source[-1].startswith(WHITEOUT)):
        raise leads_nowhere(entry)
    return source


def leads_nowhere(entry: Entry) -> InvalidTar:
    """The error of a hard link to what is not there."""
    return InvalidTar(f"the hard link {os.fsdecode(entry.name)!r} leads nowhere")


def leads_to_directory(entry: Entry) -> InvalidTar:
    """The error of a hard link to a directory."""
    return InvalidTar(f"the hard link {os.fsdecode(entry.name)!r} leads to a directory")


def no_directory(path: tuple[bytes, ...], why: str) -> InvalidTar:
    """The error of an entry below something that is no directory."""
    return InvalidTar(f"{os.fsdecode(b'/'.join(path))!r} is used as a directory and is none: {why}")


def check_entry(entry: Entry) -> None:
    """Refuse numbers that Linux does not have, links to nothing, and whiteouts in disguise. Raises InvalidTar."""
    if max(entry.uid, entry.gid) > _OWNER_LIMIT:
        raise InvalidTar(f"{os.fsdecode(entry.name)!r} has an owner that Linux does not have")
    if entry.kind == "symlink":
        if not entry.link:
            raise InvalidTar(f"the link {os.fsdecode(entry.name)!r} leads nowhere")
    elif entry.kind in ("char", "block"):
        if not all(map(int.__lt__, entry.device, _DEVICE_LIMIT)):
            raise InvalidTar(f"{os.fsdecode(entry.name)!r} has a device number that Linux does not have")
        if entry.kind == "char" and entry.device == (0, 0):
            raise InvalidTar(f"{os.fsdecode(entry.name)!r} is a whiteout in disguise")


def kept_xattrs(entry: Entry) -> dict[bytes, bytes]:
    """The attributes to set: without those that overlayfs would obey (CVE list: overlay xattr injection)."""
    return {name: value for name, value in entry.xattrs.items() if not name.startswith(_DROPPED_XATTRS)}
