"""A client's directory as a tree: read by the daemon itself, by descriptor, with the client's rights. Blocking.

Nothing vouches for the directory, and nothing stands still in it. It is listed once a build: what was seen then is what
the tree holds. A file that has grown since is read as far as it went then; one that has shrunk, or is another file or
none by now, is an error, and so is one whose bytes are not those of its digest when they are read again: a cache key
says what was copied. Directories are opened by openat2 below the root, without any link on the way; names are looked
at relative to them. What .dockerignore keeps out is not opened.

Owners are left out, and times have no fractions, as in the tar that Docker's client sends: the same files make the same
layer on either way. For the same reason names of one inode are files of their own, and of extended attributes only
`security.capability` is taken.
"""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from corten.build.dockerfile.dockerignore import Matcher, Matches
from corten.build.trees.hashes import CLOCK, ContextHashes, FileKey, is_settled
from corten.build.trees.listing import Seen, listed, seen
from corten.build.trees.tree import Node, join
from corten.errors import CortenError, Forbidden, InvalidArgument
from corten.linux.acting import Identity, acting_as
from corten.linux.errors import reason
from corten.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_CHUNK = 1 << 20
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_LIMIT = 64
_ENTRIES_LIMIT = 1_000_000  # some 700 MB of memory
_SECOND_NS = 1_000_000_000
_CONTENT_FORM = b"1"  # another one whenever copying.select digests items in another way
_CAPABILITY = "security.capability"
_IMPLICIT = Node("directory", 0o755, 0, 0, 0, 0)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class ContextChanged(CortenError):
    """A file of the context is not what it was when the build looked at it."""

    code = "build-context-changed"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: the file was changed while the build was reading the context",
            hint="build again, or name it in .dockerignore",
        )


class ContextUnreadable(Forbidden):
    """A file of the context that its client may not read, or cannot."""

    code = "build-context-unreadable"

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"cannot read the context: {path or '.'}: {reason(error.errno or 0)}")


class _Listing(NamedTuple):
    """A directory: what was seen of it and of its entries that are not ignored. `matches` are of the directories in
    it; those in `implicit` are ignored themselves, and only there for what is kept below them."""

    identity: tuple[int, int]
    entries: dict[str, Seen]
    matches: dict[str, Matches]
    implicit: set[str]


class DirectoryTree:
    """The tree below a directory's descriptor, which is its own to close, read as `reader`; for several threads.

    `ignored` is what .dockerignore says, `check` is called now and then, and may raise.
    """

    def __init__(
        self,
        root_fd: int,
        reader: Identity,
        hashes: ContextHashes,
        *,
        ignored: Matcher | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = root_fd
        self._reader = reader
        self._hashes = hashes
        self._ignored = ignored
        self._check = check
        self._lock = threading.RLock()
        self._open: OrderedDict[str, int] = OrderedDict()
        self._listings: dict[str, _Listing] = {}
        self._began_ns = time.clock_gettime_ns(CLOCK)
        self._entries = 0
        self._links: dict[str, str] = {}
        self._digests: dict[str, bytes] = {}
        self._capabilities: dict[str, bytes] = {}
        self._is_steady = True  # all that was read is what was seen
        self._is_recalled = False  # a digest stands for what was seen: nothing else may be read

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (*self._open.values(), self._root):
            os.close(fd)
        self._open.clear()

    # -- directories

    @contextmanager
    def _directory(self, path: str) -> Iterator[int]:
        """A directory's descriptor, with the reader's rights, and for this thread alone. Raises ContextUnreadable,
        ContextChanged."""
        with self._lock, acting_as(self._reader):
            fd = self._root if not path else self._open.get(path)
            if fd is None:
                fd = openat2(self._root, os.fsencode(path), _DIRECTORY, resolve=_RESOLVE)
                self._open[path] = fd
                if len(self._open) > _OPEN_LIMIT:
                    os.close(self._open.popitem(last=False)[1])
                listing = self._listings.get(path)
                if listing is not None and listing.identity != _identity(fd):
                    raise ContextChanged(path)
            yield fd

    def _listing(self, path: str) -> _Listing | None:
        """What a directory holds; None for none. Raises ContextUnreadable, ContextChanged, InvalidArgument."""
        found = self._listings.get(path)
        if found is not None:
            return found
        matches = None
        if path:
            head, _, name = path.rpartition("/")
            parent = self._listing(head)
            entry = parent.entries.get(name) if parent is not None else None
            if parent is None or entry is None or not stat.S_ISDIR(entry.mode):
                return None
            matches = parent.matches.get(name)
        with self._lock:
            return self._listings.get(path) or self._listed_below(path, matches)

    def _listed_below(self, path: str, matches: Matches | None) -> _Listing:
        """List a directory, and the ignored ones in it: those that hold nothing that is kept are not there."""
        first = self._list(path, matches)
        done = [(path, first)]
        for at, listing in done:
            done += [(join(at, name), self._list(join(at, name), listing.matches[name])) for name in listing.implicit]
        for at, listing in done[:0:-1]:
            if not listing.entries:
                head, _, name = at.rpartition("/")
                del self._listings[head].entries[name]
                self._listings[head].implicit.discard(name)
        return first

    def _list(self, path: str, above: Matches | None) -> _Listing:
        try:
            with self._directory(path) as fd:
                entries, identity = listed(fd, self._check), _identity(fd)
        except OSError as error:
            if error.errno in _GONE:
                raise ContextChanged(path) from error
            raise ContextUnreadable(path, error) from error
        self._entries += len(entries)
        if self._entries > _ENTRIES_LIMIT:
            raise InvalidArgument(f"the context has more than {_ENTRIES_LIMIT} files: name some in .dockerignore")
        listing = self._listings[path] = self._kept(path, identity, entries, above)
        return listing

    def _kept(self, path: str, identity: tuple[int, int], entries: list[Seen], above: Matches | None) -> _Listing:
        """Without what is ignored, but for directories that could hold something that is not."""
        if self._ignored is None:
            return _Listing(identity, {entry.name: entry for entry in entries}, {}, set())
        listing = _Listing(identity, {}, {}, set())
        for entry in entries:
            below = join(path, entry.name)
            found = self._ignored.matches(below, above)
            is_directory = stat.S_ISDIR(entry.mode)
            if found.ignored and not (is_directory and self._ignored.may_hold_kept(below)):
                continue
            listing.entries[entry.name] = entry
            if is_directory:
                listing.matches[entry.name] = found
                if found.ignored:
                    listing.implicit.add(entry.name)
        return listing

    def _seen(self, path: str) -> Seen | None:
        head, _, name = path.rpartition("/")
        listing = self._listing(head)
        return None if listing is None else listing.entries.get(name)

    # -- the tree

    def lstat(self, path: str) -> Node | None:
        """What was at a path. Raises ContextUnreadable, ContextChanged."""
        if not path:
            return _IMPLICIT
        entry = self._seen(path)
        if entry is None:
            return None
        kind = entry.kind
        head, _, name = path.rpartition("/")
        if name in self._listings[head].implicit:
            return _IMPLICIT
        return Node(
            kind,
            stat.S_IMODE(entry.mode),
            0,
            0,
            entry.size if kind == "file" else 0,
            entry.mtime_ns // _SECOND_NS * _SECOND_NS,
            self._link(path, entry) if kind == "symlink" else "",
            (os.major(entry.special), os.minor(entry.special)) if kind in ("char", "block") else (0, 0),
        )

    def _link(self, path: str, entry: Seen) -> str:
        target = self._links.get(path)
        if target is None:
            head, _, name = path.rpartition("/")
            try:
                with self._directory(head) as fd:
                    target = os.readlink(name, dir_fd=fd)
                    now = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                raise ContextChanged(path) from error
            self._note(path, is_same=seen(name, now) == entry)
            self._links[path] = target
        return target

    def names(self, path: str) -> list[str]:
        """What a directory held."""
        listing = self._listing(path)
        return [] if listing is None else list(listing.entries)

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, as many as it had; those of its digest, where that was asked for. Raises ContextChanged."""
        entry = self._file_entry(path)
        known = self._digests.get(path)
        total = hashlib.sha256()
        fd = self._open_file(path, entry)
        try:
            for data in self._read(fd, path, entry.size):
                total.update(data)
                yield data
        finally:
            os.close(fd)
        if known is not None and known != total.digest():
            raise ContextChanged(path)

    def _file_entry(self, path: str) -> Seen:
        entry = self._seen(path)
        if entry is None or not stat.S_ISREG(entry.mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entry

    def _open_file(self, path: str, entry: Seen) -> int:
        """A regular file: what became something else meanwhile is neither waited for nor read."""
        head, _, name = path.rpartition("/")
        try:
            with self._directory(head) as directory:
                fd = os.open(name, _FILE, dir_fd=directory)
        except OSError as error:
            if error.errno in (*_GONE, errno.ENXIO):
                raise ContextChanged(path) from error
            raise ContextUnreadable(path, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != (entry.device, entry.inode):
            os.close(fd)
            raise ContextChanged(path)
        return fd

    def _read(self, fd: int, path: str, size: int) -> Iterator[bytes]:
        """`size` bytes: a file is not read beyond what it had, and must have it still."""
        while size > 0:
            self._check()
            data = os.read(fd, min(size, _CHUNK))
            if not data:
                raise ContextChanged(path)
            yield data
            size -= len(data)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """`security.capability` of a file that has it. Raises as `digest`."""
        entry = self._seen(path) if path else None
        if entry is None or not stat.S_ISREG(entry.mode):
            return {}
        self._digest(path, entry)
        value = self._capabilities.get(path)
        return {} if value is None else {_CAPABILITY.encode(): value}

    def digest(self, path: str) -> str:
        """SHA-256, remembered from an earlier build or computed. Raises ContextChanged, ContextUnreadable."""
        return self._digest(path, self._file_entry(path)).hex()

    def _digest(self, path: str, entry: Seen) -> bytes:
        digest = self._digests.get(path)
        if digest is None:
            key = FileKey(*entry[2:7])
            digest = self._hashes.file(key)
            if digest is None:
                digest = self._hashed(path, entry, key)
            self._digests[path] = digest
        return digest

    def _hashed(self, path: str, entry: Seen, key: FileKey) -> bytes:
        """Read it, and remember what is sure to be known again."""
        began_ns = time.clock_gettime_ns(CLOCK)
        fd = self._open_file(path, entry)
        try:
            before = os.fstat(fd)
            total = hashlib.sha256()
            for data in self._read(fd, path, entry.size):
                total.update(data)
            attributes = os.listxattr(fd)
            if _CAPABILITY in attributes:
                self._capabilities[path] = os.getxattr(fd, _CAPABILITY)
            is_same = seen(entry.name, before) == entry == seen(entry.name, os.fstat(fd))
        finally:
            os.close(fd)
        self._note(path, is_same=is_same)
        if is_same and _CAPABILITY not in attributes and is_settled(key.mtime_ns, key.ctime_ns, began_ns):
            self._hashes.put_file(key, total.digest())
        return total.digest()

    def _note(self, path: str, *, is_same: bool) -> None:
        """Whether something that was read is what was seen. Raises ContextChanged when it has to be."""
        self._is_steady &= is_same
        if self._is_recalled and not is_same:
            raise ContextChanged(path)

    # -- whole directories

    def recall(self, path: str) -> str | None:
        """The digest that `remember` was called with for what is seen below a directory. Raises ContextUnreadable,
        ContextChanged."""
        found = self._hashes.tree(self._fingerprint(path))
        if found is None:
            return None
        self._is_recalled = True
        return found.hex()

    def remember(self, path: str, digest: str) -> None:
        """Remember the digest of all below a directory, if what is seen of it will tell of any change."""
        if self._is_steady and all(self._is_settled(entries) for _at, entries in self._below(path)):
            self._hashes.put_tree(self._fingerprint(path), bytes.fromhex(digest))

    def _fingerprint(self, path: str) -> bytes:
        """All that is seen below a directory, and what decides over a directory's attributes. A directory's times and
        size tell of entries that are ignored, too."""
        total = hashlib.sha256(_CONTENT_FORM)
        for at, entries in self._below(path):
            seen_here = [entry[:2] if stat.S_ISDIR(entry.mode) else entry[:] for entry in entries]
            implicit = sorted(self._listings[at].implicit)
            total.update(marshal.dumps((seen_here, implicit), 2))  # 2: without references, so that it is one form
        return total.digest()

    def _below(self, path: str) -> Iterator[tuple[str, Collection[Seen]]]:
        """The directories from `path` down, in one order, and what is in them."""
        todo = [path]
        while todo:
            at = todo.pop()
            listing = self._listing(at)
            if listing is not None:
                entries = listing.entries.values()
                yield at, entries
                todo += [join(at, entry.name) for entry in entries if stat.S_ISDIR(entry.mode)]

    def _is_settled(self, entries: Collection[Seen]) -> bool:
        return all(
            stat.S_ISDIR(entry.mode) or is_settled(entry.mtime_ns, entry.ctime_ns, self._began_ns) for entry in entries
        )


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
