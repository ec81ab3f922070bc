"""Tars as an attacker writes them, and what is compared after they were unpacked. Test kit."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

from corten.lib.tar import Readable, TarReader
from corten.store.erofs.mount import Backing, mount_image
from corten.store.erofs.writer import write_image
from corten.store.extract import LayerExtractor

_BLOCK = 4096
TYPES = {"file": b"0", "hard": b"1", "link": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}


def header(name: bytes, kind: bytes, *, size: int = 0, link: bytes = b"", mode: int = 0o644, uid: int = 0,
           gid: int = 0, mtime: bytes = b"14312704000", device: tuple[int, int] = (0, 0)) -> bytes:  # fmt: skip
    """One ustar header, of exactly these fields."""
    block = b"".join((
        name[:100].ljust(100, b"\0"), b"%07o\0" % mode, b"%07o\0" % uid, b"%07o\0" % gid,
        b"%011o\0" % size, mtime + b"\0", b" " * 8, kind, link[:100].ljust(100, b"\0"), b"ustar\x0000", bytes(64),
        b"%07o\0" % device[0], b"%07o\0" % device[1],
    )).ljust(512, b"\0")  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    """`data` in whole blocks."""
    return data + bytes(-len(data) % 512)


def pax(**records: bytes) -> bytes:
    """A PAX header for the next member; `__` in a key is a dot."""
    return pax_of({key.replace("__", ".").encode(): value for key, value in records.items()})


def pax_of(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A PAX header of these records."""
    body = b""
    for key, value in records.items():
        length = len(key) + len(value) + 3
        while len(b"%d" % length) + len(key) + len(value) + 3 != length:
            length += 1
        body += b"%d %s=%s\n" % (length, key, value)
    return header(b"pax", kind, size=len(body)) + padded(body)


def member(kind: str, name: str | bytes, content: bytes | str = b"", **fields: object) -> bytes:
    """A member: content of a file, target of a link; long names and targets get a PAX header."""
    raw = os.fsencode(name)
    data = os.fsencode(content)
    records = {b"path": raw} if len(raw) > 100 else {}
    link = data if kind in ("link", "hard") else b""
    if len(link) > 100:
        records[b"linkpath"] = link
    before = pax_of(records) if records else b""
    size = len(data) if kind == "file" else 0
    head = header(raw, TYPES[kind], size=size, link=link, **fields)  # type: ignore[arg-type]
    return before + head + (padded(data) if kind == "file" else b"")


def tar(*members: bytes) -> io.BytesIO:
    """A whole archive."""
    return io.BytesIO(b"".join(members) + bytes(1024))


def unpack(stream: Readable, directory: Path) -> int:
    """Unpack a layer upon nothing; its size."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        extractor = LayerExtractor(fd, lambda _path: None)
        extractor.extract(TarReader(stream))
        return extractor.size()
    finally:
        os.close(fd)


class Image:
    """A layer upon nothing as an EROFS image, mounted: `path` is its root until the block ends."""

    def __init__(self, stream: Readable, file: Path) -> None:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self.size, _tar = write_image(fd, stream, lambda _path: None)
            self._fd = mount_image(file, Backing.FILE)
        finally:
            os.close(fd)
        self.path = Path(f"/proc/self/fd/{self._fd}")

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


Print = dict[bytes, tuple[object, ...]]


def fingerprint(directory: Path, *, times: bool = True) -> Print:
    """Everything that can be told of a tree, hard links as groups; by path."""
    found: Print = {}
    groups: dict[tuple[int, int], bytes] = {}
    for root, folders, files in os.walk(os.fsencode(directory)):
        folders.sort()  # the first name of a group stands for it
        for name in sorted([*folders, *files, b"."] if root == os.fsencode(directory) else [*folders, *files]):
            path = os.path.join(root, name)
            status = os.lstat(path)
            relative = os.path.relpath(path, os.fsencode(directory))
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = _digest(path)
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                content = status.st_rdev
            group = groups.setdefault((status.st_dev, status.st_ino), relative) if status.st_nlink > 1 else b""
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False)
                      for key in os.listxattr(path, follow_symlinks=False)}  # fmt: skip
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found[relative] = (
                oct(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns if times else 0, content,
                b"" if stat.S_ISDIR(status.st_mode) else group, xattrs,
            )  # fmt: skip
    return found


def _digest(path: bytes) -> str:
    """Of the data only where there is some: files may claim terabytes."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        end, offset = os.fstat(file.fileno()).st_size, 0
        while offset < end:
            try:
                data = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(file.fileno(), data, os.SEEK_HOLE)
            start = data - data % _BLOCK
            content = os.pread(file.fileno(), min(hole - start, 1 << 22), start)
            for at in range(0, len(content), _BLOCK):
                block = content[at : at + _BLOCK].rstrip(b"\0")
                if block:  # zeros count as a hole, wherever the file system has them
                    total.update(b"%d:%s" % (start + at, block))
            offset = hole
    return total.hexdigest()
