"""What a context's directories hold, each listed once a build. Blocking, for several threads; by descriptor only.

Directories are opened by openat2 below the root, without any link on the way, with the rights of the context's reader.
What .dockerignore keeps out is neither listed nor looked at.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from corten.build.dockerfile.dockerignore import Matcher, Matches
from corten.build.trees.listing import Seen, listed
from corten.build.trees.tree import join
from corten.errors import CortenError, Forbidden, InvalidArgument
from corten.linux.acting import Identity, acting_as
from corten.linux.errors import reason
from corten.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_LIMIT = 64
_ENTRIES_LIMIT = 1_000_000  # some 700 MB of memory
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


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


class Listing(NamedTuple):
    """A directory: what was seen of it and of its entries that are not ignored. `matches` are of the directories in
    it; those in `implicit` are ignored themselves, and only there for what is kept below them."""

    identity: tuple[int, int, int]
    entries: dict[str, Seen]
    matches: dict[str, Matches]
    implicit: set[str]


class Listings:
    """Those of one context; `root_fd` is its own to close. `check` is called now and then, and may raise."""

    def __init__(self, root_fd: int, reader: Identity, ignored: Matcher | None, check: Callable[[], None]) -> None:
        self._root = root_fd
        self._reader = reader
        self._ignored = ignored
        self._check = check
        self._lock = threading.RLock()
        self._open: OrderedDict[str, int] = OrderedDict()
        self._known: dict[str, Listing] = {}
        self._entries = 0

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (*self._open.values(), self._root):
            os.close(fd)
        self._open.clear()

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A directory's descriptor, with the reader's rights, and for this thread alone. Raises ContextUnreadable,
        ContextChanged."""
        with self._lock, acting_as(self._reader):
            fd = self._root if not path else self._open.get(path)
            if fd is None:
                fd = self._open[path] = self._opened(path)
                if len(self._open) > _OPEN_LIMIT:
                    os.close(self._open.popitem(last=False)[1])
                listing = self._known.get(path)
                if listing is not None and not _is_same(listing.identity, _identity(fd)):
                    raise ContextChanged(path)
            yield fd

    def _opened(self, path: str) -> int:
        try:
            return openat2(self._root, os.fsencode(path), _DIRECTORY, resolve=_RESOLVE)
        except OSError as error:
            if error.errno in GONE:
                raise ContextChanged(path) from error
            raise ContextUnreadable(path, error) from error

    def get(self, path: str) -> Listing | None:
        """What a directory holds; None for none. Raises ContextUnreadable, ContextChanged, InvalidArgument."""
        found = self._known.get(path)
        if found is not None:
            return found
        matches = None
        if path:
            head, _, name = path.rpartition("/")
            parent = self.get(head)
            entry = parent.entries.get(name) if parent is not None else None
            if parent is None or entry is None or not stat.S_ISDIR(entry.mode):
                return None
            matches = parent.matches.get(name)
        with self._lock:
            return self._known.get(path) or self._listed_below(path, matches)

    def _listed_below(self, path: str, matches: Matches | None) -> Listing:
        """List a directory, and the ignored ones in it: those that hold nothing that is kept are not there.

        Other threads, which read `_known` without the lock, get listings that are whole.
        """
        first = self._list(path, matches)
        done = [(path, first)]
        for at, listing in done:
            done += [(join(at, name), self._list(join(at, name), listing.matches[name])) for name in listing.implicit]
        found = dict(done)
        for at, listing in done[:0:-1]:
            if not listing.entries:
                head, _, name = at.rpartition("/")
                del found[head].entries[name]
                found[head].implicit.discard(name)
        self._known.update(found)
        return first

    def _list(self, path: str, above: Matches | None) -> Listing:
        with self.directory(path) as fd:
            try:
                entries, identity = listed(fd, self._bounded), _identity(fd)
            except OSError as error:
                raise ContextUnreadable(path, error) from error
        self._bounded(len(entries))
        self._entries += len(entries)
        return self._kept(path, identity, entries, above)

    def _bounded(self, more: int) -> None:
        """Not too many entries: a program's directory (FUSE) may have no end. Raises InvalidArgument."""
        self._check()
        if self._entries + more > _ENTRIES_LIMIT:
            raise InvalidArgument(f"the context has more than {_ENTRIES_LIMIT} files: name some in .dockerignore")

    def _kept(self, path: str, identity: tuple[int, int, int], entries: list[Seen], above: Matches | None) -> Listing:
        """Without what is ignored, but for directories that could hold something that is not."""
        if self._ignored is None:
            return Listing(identity, {entry.name: entry for entry in entries}, {}, set())
        listing = Listing(identity, {}, {}, set())
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

    def seen(self, path: str) -> Seen | None:
        """What is at a path below the root. Raises as `get`."""
        head, _, name = path.rpartition("/")
        listing = self.get(head)
        return None if listing is None else listing.entries.get(name)

    def is_implicit(self, path: str) -> bool:
        """Whether a directory that was listed with its parent is ignored, and only there for what is below it."""
        head, _, name = path.rpartition("/")
        return name in self._known[head].implicit

    def below(self, path: str) -> Iterator[tuple[str, Listing]]:
        """The directories from `path` down, in one order, and what is in them. Raises as `get`."""
        todo = [path]
        while todo:
            at = todo.pop()
            listing = self.get(at)
            if listing is not None:
                yield at, listing
                todo += [join(at, entry.name) for entry in listing.entries.values() if stat.S_ISDIR(entry.mode)]


def _identity(fd: int) -> tuple[int, int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _is_same(was: tuple[int, int, int], now: tuple[int, int, int]) -> bool:
    """Whether it is the directory that was listed. Some file systems of users (FUSE) give one inode several numbers."""
    return was[:2] == now[:2] or was[2] == now[2]
