"""A local file or folder as a tar stream, in the layout that the archive endpoints expect."""

from __future__ import annotations

import os
import stat
import tarfile

from corten.cli.copy.naming import renamed, split_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 64 << 10


class _Sink:
    """What tarfile writes to."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        """Hand on."""
        self._write(bytes(data))
        return len(data)


def pack(path: str, old: str, new: str, write: Callable[[bytes], None], *, name: str = "") -> None:
    """Write the archive of `path`; names have their first part `old` replaced by `new`.

    Sockets are left out, as tar does. The order is that of a walk, so a folder comes before what is in it.
    """
    folder, base = split_path(path)
    root = folder if base == "." else os.path.join(folder, base)
    archive = tarfile.open(fileobj=_Sink(write), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK)  # type: ignore[call-overload]  # noqa: SIM115
    with archive:
        _add(archive, root, name or base, lambda member: renamed(member, old, new))


def _add(archive: tarfile.TarFile, path: str, member: str, rename: Callable[[str], str]) -> None:
    status = os.lstat(path)
    if stat.S_ISSOCK(status.st_mode):
        return
    info = archive.gettarinfo(path, rename(member))
    info.name = rename(member) + ("/" if info.isdir() else "")
    if info.islnk():
        info.linkname = rename(info.linkname)
    if info.isreg():
        with open(path, "rb") as file:
            archive.addfile(info, file)
        return
    archive.addfile(info)
    if info.isdir():
        for name in sorted(os.listdir(path)):
            _add(archive, os.path.join(path, name), f"{member}/{name}", rename)
