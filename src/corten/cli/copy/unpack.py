"""A container's tar stream to local files. The archive is untrusted: no name and no link leads out of the folder.

Each folder on the way is opened by descriptor and never through a link (O_NOFOLLOW), so that a link unpacked first
cannot carry a later member elsewhere (CVE-2019-14271 and its kin). Owners are not taken over, as in Docker's client.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile

from corten.cli.copy.naming import renamed
from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 256 << 10
_MAX_PARTS = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE_BITS = 0o7777
_SET_ID = stat.S_ISUID | stat.S_ISGID


class Stream:
    """Pieces as a file that tarfile can read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.count = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts: list[bytes] = [self._rest]
        have = len(self._rest)
        while have < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        self._rest = data[size:]
        self.count += min(len(data), size)
        return data[:size]


def unpack(stream: Stream, folder: str, old: str, new: str, *, harmless: bool = False) -> None:
    """Unpack into `folder`; names have their first part replaced. Raises CliError.

    With `harmless` nothing gets more power here than a plain file has: no devices, no set-id bits.
    """
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    folders: list[tuple[list[str], tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]  # read() is all it needs
            for member in archive:
                if harmless:
                    if member.ischr() or member.isblk():
                        continue
                    member.mode &= ~_SET_ID
                parts = _parts(renamed(member.name, old, new))
                _one(archive, member, root, parts, _parts(renamed(member.linkname, old, new)) if member.islnk() else [])
                if member.isdir() and parts:
                    folders.append((parts, member))
        for parts, member in reversed(folders):
            _times(root, parts, member)
    except tarfile.TarError as error:
        raise CliError(f"the archive from the engine is damaged: {error}") from None
    finally:
        os.close(root)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > _MAX_PARTS:
        raise CliError(f"the archive holds a name that leads out of the destination: {name!r}")
    return parts


def _open_parent(root: int, parts: list[str]) -> int:
    """The folder that the last part goes into; missing ones are made."""
    current = os.dup(root)
    for part in parts[:-1]:
        try:
            following = _enter(current, part)
        finally:
            os.close(current)
        current = following
    return current


def _enter(parent: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise CliError(f"the archive leads through {name!r}, which is not a folder") from None
        raise


def _one(archive: tarfile.TarFile, member: tarfile.TarInfo, root: int, parts: list[str], link: list[str]) -> None:
    if not parts:
        return
    parent = _open_parent(root, parts)
    name = parts[-1]
    try:
        if member.isdir():
            _make_folder(parent, name)
            os.chmod(name, member.mode & _MODE_BITS, dir_fd=parent)
            return
        _clear(parent, name)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            _hard_link(root, link, parent, name)
        elif member.isreg():
            _write(archive, member, parent, name)
        else:
            _special(member, parent, name)
        if not member.islnk():
            seconds = max(float(member.mtime), 0.0)
            os.utime(name, (seconds, seconds), dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise CliError(f"cannot overwrite non-directory {name!r} with directory") from None


def _clear(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise CliError(f"cannot overwrite directory {name!r} with non-directory") from None


def _hard_link(root: int, link: list[str], parent: int, name: str) -> None:
    if not link:
        raise CliError(f"the archive holds a link without a target: {name!r}")
    source = _open_parent(root, link)
    try:
        os.link(link[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(source)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
    content = archive.extractfile(member)
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    with open(target, "wb", buffering=0) as file:
        while content is not None and (data := content.read(_BLOCK)):
            file.write(data)
        os.fchmod(target, member.mode & _MODE_BITS)


def _special(member: tarfile.TarInfo, parent: int, name: str) -> None:
    """Pipes and devices, the latter for root only."""
    mode = member.mode & _MODE_BITS
    if member.isfifo():
        os.mkfifo(name, mode, dir_fd=parent)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(name, kind | mode, os.makedev(member.devmajor, member.devminor), dir_fd=parent)


def _times(root: int, parts: list[str], member: tarfile.TarInfo) -> None:
    parent = _open_parent(root, parts)
    try:
        seconds = max(float(member.mtime), 0.0)
        os.utime(parts[-1], (seconds, seconds), dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)
