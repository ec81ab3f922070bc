"""What a client lists of its files, checked entry by entry: it may be anybody's. Pure; daemon.

The rules of fsutil: clean relative paths, in ascending order with `/` before every other byte, parents before what
they hold, hard links to files of the same list that came before. What breaks one ends the transfer.
Source: validator.go, receive.go and stat.go of github.com/tonistiigi/fsutil; Go's io/fs.FileMode.
"""

from __future__ import annotations

import msgspec

from corten.build.session.packet import BadPacket, Stat

PATH_LIMIT = 4096  # bytes of a path, and of a link's target (limits.h, PATH_MAX)
_NAME_LIMIT = 255
_ENTRY_BYTES = 700
_MEMORY_LIMIT = 1 << 30  # by that estimate: more than a million files
_XATTR_LIMIT = 64 << 10

DIRECTORY, SYMLINK, DEVICE, PIPE, SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
SETUID, SETGID, CHAR, STICKY, IRREGULAR = 1 << 23, 1 << 22, 1 << 21, 1 << 20, 1 << 19
TYPES = DIRECTORY | SYMLINK | DEVICE | PIPE | SOCKET | CHAR | IRREGULAR
_BITS = ((SETUID, 0o4000), (SETGID, 0o2000), (STICKY, 0o1000))
_KINDS = {
    0: "file", DIRECTORY: "directory", SYMLINK: "symlink", DEVICE: "block", DEVICE | CHAR: "char", PIPE: "fifo",
    SOCKET: "", IRREGULAR: "",
}  # fmt: skip
_KEPT_XATTRS = (b"user.", b"security.capability")


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a file's bytes are: in which pack, from where on, how many, and their SHA-256."""

    pack: str
    offset: int
    length: int
    digest: str


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a list. `raw` is the Stat as it came; `kind` as in lib.tar.Entry, empty for what no image can have
    (sockets). A hard link's `link` is the path of the file, a symbolic link's its text. `place` is a file's."""

    raw: bytes
    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = {}
    place: Place | None = None


def entry_of(stat: Stat, raw: bytes) -> Entry:
    """A file as it is told of. Raises BadPacket for what cannot be."""
    path = stat.path
    _check_path(path)
    kind = _KINDS.get(stat.mode & TYPES)
    if kind is None:
        raise _wrong(path, f"has the impossible mode {stat.mode:#x}")
    link = stat.linkname
    if len(link) > PATH_LIMIT or b"\0" in link:
        raise _wrong(path, "has an impossible link target")
    if kind == "file" and link:
        kind = "hardlink"
    elif kind == "symlink" and not link:
        raise _wrong(path, "is a link without a target")
    if kind == "file" and stat.size < 0:
        raise _wrong(path, f"has the size {stat.size}")
    if sum(len(name) + len(value) for name, value in stat.xattrs) > _XATTR_LIMIT:
        raise _wrong(path, "has too many extended attributes")
    mode = stat.mode & 0o777
    for theirs, ours in _BITS:
        mode |= ours if stat.mode & theirs else 0
    is_device = kind in ("char", "block")
    if is_device and not (0 <= stat.major < 1 << 12 and 0 <= stat.minor < 1 << 20):
        raise _wrong(path, "has an impossible device number")
    return Entry(
        raw=raw,
        path=path,
        kind=kind,
        mode=0o777 if kind == "symlink" else mode,
        uid=stat.uid,
        gid=stat.gid,
        size=stat.size if kind == "file" else 0,
        mtime_ns=max(stat.mtime_ns, 0),
        link=link if kind in ("symlink", "hardlink") else b"",
        device=(stat.major, stat.minor) if is_device else (0, 0),
        xattrs={name: value for name, value in stat.xattrs if name.startswith(_KEPT_XATTRS) and not _is_overlay(name)},
    )


def _is_overlay(name: bytes) -> bool:
    """Attributes that the kernel would obey in an overlay mounted with `userxattr`."""
    return name.startswith(b"user.overlay.")


def _check_path(path: bytes) -> None:
    if not path or len(path) > PATH_LIMIT or b"\0" in path:
        raise _wrong(path, "has an impossible name")
    for name in path.split(b"/"):
        if name in (b"", b".", b"..") or len(name) > _NAME_LIMIT:
            raise _wrong(path, "has an impossible name")


class Order:
    """Checks that entries come in order, and how many: one for each list."""

    def __init__(self) -> None:
        self._last = b""
        self._directories: set[bytes] = set()
        self._files: set[bytes] = set()
        self._memory = 0

    def check(self, entry: Entry) -> None:
        """The next one. Raises BadPacket."""
        path = entry.path
        key = path.replace(b"/", b"\0")
        if key <= self._last:
            raise _wrong(path, "comes out of order")
        self._last = key
        parent = path.rpartition(b"/")[0]
        if parent and parent not in self._directories:
            raise _wrong(path, "comes before its directory")
        if entry.kind == "directory":
            self._directories.add(path)
        elif entry.kind == "file":
            self._files.add(path)
        elif entry.kind == "hardlink" and entry.link not in self._files:
            raise _wrong(path, "is a hard link to a file that did not come before")
        self._memory += _ENTRY_BYTES + 3 * len(entry.raw)
        if self._memory > _MEMORY_LIMIT:
            raise BadPacket(f"the client sends too many files for {_MEMORY_LIMIT >> 20} MB of memory")


def _wrong(path: bytes, what: str) -> BadPacket:
    return BadPacket(f"the client sent a file that {what}: {path[:200].decode('utf-8', 'backslashreplace')!r}")
