"""Mount layer images, and find out how this kernel does it. Blocking; daemon, as root.

From Linux 6.12 on EROFS reads an image file itself; from 6.4 on a loop device is needed, as it is when the file lies on
overlayfs. What works is tried, never derived from a version: modules and configurations differ.
"""

from __future__ import annotations

import io
import os
import secrets
from enum import StrEnum
from pathlib import Path

from corten.linux.loop import read_only_loop
from corten.linux.mount import new_filesystem
from corten.store.erofs.layout import BLOCK
from corten.store.erofs.writer import write_image

_PROBE = "probe.erofs"
_PROBE_MODE = 0o2751  # no directory has it by chance


class Backing(StrEnum):
    """What stands between EROFS and the image file."""

    FILE = "file"
    LOOP = "loop"


def mount_image(image: Path, backing: Backing) -> int:
    """A detached, read-only mount of an image; the caller closes it. Raises OSError."""
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return mount_open_image(fd, backing)
    finally:
        os.close(fd)


def mount_open_image(fd: int, backing: Backing, attributes: int = 0) -> int:
    """The same for an open file, which may have no name, with MOUNT_ATTR_* `attributes`. Raises OSError."""
    if backing is Backing.FILE:
        return _mount(f"/proc/self/fd/{fd}", attributes)
    with read_only_loop(fd, block_size=BLOCK) as device:
        return _mount(device, attributes)


def _mount(source: str, attributes: int) -> int:
    return new_filesystem("erofs", [("source", source), ("ro", None)], attributes)


def probe(directory: Path) -> tuple[Backing | None, str]:
    """How images that lie in `directory` can be mounted; None and the reason if they cannot. Raises OSError.

    The image that is tried stays there: a daemon must start on a full disk too.
    """
    image = directory / _PROBE
    backing, reason = _first_that_works(image)
    if backing is not None:
        return backing, ""
    fresh = directory / f"{_PROBE}-{secrets.token_hex(8)}"
    try:
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_image(fd, io.BytesIO(bytes(1024)), lambda _path: (_PROBE_MODE, 1, 2))
        finally:
            os.close(fd)
        backing, reason = _first_that_works(fresh)
        if backing is not None:
            fresh.rename(image)
    finally:
        fresh.unlink(missing_ok=True)
    return backing, reason


def _first_that_works(image: Path) -> tuple[Backing | None, str]:
    reasons = []
    for backing in Backing:
        try:
            _try(image, backing)
        except OSError as error:
            reasons.append(f"{backing}: {error}")
        else:
            return backing, ""
    return None, "; ".join(reasons)


def _try(image: Path, backing: Backing) -> None:
    fd = mount_image(image, backing)
    try:
        status = os.fstat(fd)
        if (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (_PROBE_MODE, 1, 2):
            raise OSError("the mounted image does not show what was written")
    finally:
        os.close(fd)
