"""A client's directory as a tree: read by the daemon itself, by descriptor, with the client's rights. Blocking.

Nothing vouches for the directory, and nothing stands still in it. It is listed once a build: what was seen then is what
the tree holds. A file that has grown since is read as far as it went then; one that has shrunk, or is another file or
none by now, is an error, and so is one whose bytes are not those of its digest when they are read again: a cache key
says what was copied. (What directories hold: `listings.py`.)

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
import time
from collections.abc import Callable, Collection, Iterator, Mapping

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.trees.hashes import CLOCK, ContextHashes, is_settled
from corten.build.trees.listing import Seen, seen
from corten.build.trees.listings import GONE, ContextChanged, ContextUnreadable, Listings
from corten.build.trees.tree import Node, join
from corten.linux.acting import Identity

_CHUNK = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SECOND_NS = 1_000_000_000
_CONTENT_FORM = b"1"  # another one whenever copying.select digests items in another way
_CAPABILITY = "security.capability"
_IMPLICIT = Node("directory", 0o755, 0, 0, 0, 0)


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
        self._listings = Listings(root_fd, reader, ignored, check)
        self._hashes = hashes
        self._check = check
        self._began_ns = time.clock_gettime_ns(CLOCK)
        self._links: dict[str, str] = {}
        self._digests: dict[str, bytes] = {}
        self._capabilities: dict[str, bytes] = {}
        self._is_steady = True  # all that was read is what was seen
        self._is_recalled = False  # a digest stands for what was seen: nothing else may be read

    def close(self) -> None:
        """Close all descriptors."""
        self._listings.close()

    # -- the tree

    def lstat(self, path: str) -> Node | None:
        """What was at a path. Raises ContextUnreadable, ContextChanged."""
        if not path:
            return _IMPLICIT
        entry = self._listings.seen(path)
        if entry is None:
            return None
        kind = entry.kind
        if kind == "directory" and self._listings.is_implicit(path):
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
                with self._listings.directory(head) as fd:
                    target = os.readlink(name, dir_fd=fd)
                    now = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                raise ContextChanged(path) from error
            self._note(path, is_same=seen(name, now) == entry)
            self._links[path] = target
        return target

    def names(self, path: str) -> list[str]:
        """What a directory held."""
        listing = self._listings.get(path)
        return [] if listing is None else list(listing.entries)

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, as many as it had; those of its digest, where that was asked for. Raises ContextChanged,
        ContextUnreadable."""
        entry = self._file_entry(path)
        known = self._digests.get(path)
        total = hashlib.sha256()
        fd, _ = self._open_file(path, entry)
        try:
            for data in self._read(fd, path, entry.size):
                total.update(data)
                if known is not None and len(data) == entry.size and known != total.digest():
                    raise ContextChanged(path)
                yield data
        finally:
            os.close(fd)
        if known is not None and known != total.digest():
            raise ContextChanged(path)

    def _file_entry(self, path: str) -> Seen:
        entry = self._listings.seen(path)
        if entry is None or not stat.S_ISREG(entry.mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entry

    def _open_file(self, path: str, entry: Seen) -> tuple[int, bool]:
        """A regular file, and whether it is as it was seen: what became something else meanwhile is neither waited for
        nor read."""
        head, _, name = path.rpartition("/")
        with self._listings.directory(head) as directory:
            return self._opened(directory, name, path, entry)

    def _opened(self, directory: int, name: str, path: str, entry: Seen) -> tuple[int, bool]:
        try:
            fd = os.open(name, _FILE, dir_fd=directory)
        except OSError as error:
            if error.errno in (*GONE, errno.ENXIO):
                raise ContextChanged(path) from error
            raise ContextUnreadable(path, error) from error
        now = os.fstat(fd)
        is_one = now.st_ino == entry.inode and now.st_dev == entry.device
        is_same = now.st_ctime_ns == entry.ctime_ns and now.st_mtime_ns == entry.mtime_ns and now.st_size == entry.size
        if not stat.S_ISREG(now.st_mode) or not (is_one or is_same):  # some file systems number an inode anew (FUSE)
            os.close(fd)
            raise ContextChanged(path)
        return fd, is_one and is_same

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
        if path not in self._digests:
            entry = self._listings.seen(path) if path else None
            if entry is None or not stat.S_ISREG(entry.mode):
                return {}
            self._digest(path, entry)
        value = self._capabilities.get(path)
        return {} if value is None else {_CAPABILITY.encode(): value}

    def digest(self, path: str) -> str:
        """SHA-256, remembered from an earlier build or computed. Raises ContextChanged, ContextUnreadable."""
        known = self._digests.get(path)
        return (self._digest(path, self._file_entry(path)) if known is None else known).hex()

    def _digest(self, path: str, entry: Seen) -> bytes:
        digest = self._digests.get(path)
        if digest is None:
            digest = self._hashes.file(entry[2:7])
            if digest is None:
                head, _, name = path.rpartition("/")
                with self._listings.directory(head) as directory:
                    fd, is_same = self._opened(directory, name, path, entry)
                digest = self._hashed(fd, path, entry, is_same=is_same)
            self._digests[path] = digest
        return digest

    def _hashed(self, fd: int, path: str, entry: Seen, *, is_same: bool) -> bytes:
        """Read a file that was opened, close it, and remember what is sure to be known again.

        A file that is written to after it was listed has another ctime for good: what is remembered of it under its
        old one is never asked for.
        """
        try:
            self._note(path, is_same=is_same)
            total = hashlib.sha256()
            for data in self._read(fd, path, entry.size):
                total.update(data)
            attributes = os.listxattr(fd)
            if _CAPABILITY in attributes:
                self._capabilities[path] = os.getxattr(fd, _CAPABILITY)
        finally:
            os.close(fd)
        digest = total.digest()
        if is_same and _CAPABILITY not in attributes and self._is_settled(entry):
            self._hashes.put_file(entry[2:7], digest)
        return digest

    def _hash_files(self, at: str, entries: Collection[Seen]) -> None:
        """Know the digests of a directory's small files, at one go: their directory is looked for once."""
        todo = [entry for entry in entries if stat.S_ISREG(entry.mode) and entry.size <= _CHUNK]
        todo = [
            entry for entry in todo if join(at, entry.name) not in self._digests and not self._hashes.file(entry[2:7])
        ]
        if not todo:
            return
        self._check()
        with self._listings.directory(at) as directory:
            for entry in todo:
                path = join(at, entry.name)
                fd, is_same = self._opened(directory, entry.name, path, entry)
                self._digests[path] = self._hashed(fd, path, entry, is_same=is_same)

    def _note(self, path: str, *, is_same: bool) -> None:
        """Whether something that was read is what was seen. Raises ContextChanged when it has to be."""
        self._is_steady &= is_same
        if self._is_recalled and not is_same:
            raise ContextChanged(path)

    # -- whole directories

    def recall(self, path: str) -> str | None:
        """The digest that `remember` was called with for what is seen below a directory; else its files are hashed.
        Raises ContextUnreadable, ContextChanged."""
        found = self._hashes.tree(self._fingerprint(path))
        if found is None:
            for at, listing in self._listings.below(path):
                self._hash_files(at, listing.entries.values())
            return None
        self._is_recalled = True
        return found.hex()

    def remember(self, path: str, digest: str) -> None:
        """Remember the digest of all below a directory, if what is seen of it will tell of any change."""
        below = (entry for _at, listing in self._listings.below(path) for entry in listing.entries.values())
        if self._is_steady and all(map(self._is_settled, below)):
            self._hashes.put_tree(self._fingerprint(path), bytes.fromhex(digest))

    def _fingerprint(self, path: str) -> bytes:
        """All that is seen below a directory, and what decides over a directory's attributes. A directory's times and
        size tell of entries that are ignored, too."""
        total = hashlib.sha256(_CONTENT_FORM)
        for _at, listing in self._listings.below(path):
            entries = listing.entries.values()
            seen_here = [entry[:2] if stat.S_ISDIR(entry.mode) else entry[:] for entry in entries]
            # 2: without references, so that it is one form
            total.update(marshal.dumps((seen_here, sorted(listing.implicit)), 2))
        return total.digest()

    def _is_settled(self, entry: Seen) -> bool:
        """Whether its times tell of any later change; a directory's content is told by its entries."""
        return stat.S_ISDIR(entry.mode) or is_settled(entry.mtime_ns, entry.ctime_ns, self._began_ns)
