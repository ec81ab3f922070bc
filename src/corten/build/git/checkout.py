"""What a checkout of a commit would hold, as a tar: of the repository and, within it, of its submodules. Net threads.

No file is made on the way: names go from git's trees to the tar's members. Files are root's; their time is the
commit's, so that a commit gives one tar. Attributes of git (line ends, filters, LFS) have no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from corten.build.git.directory import GitDirectory
from corten.build.git.error import GitError
from corten.build.git.pack import Objects
from corten.build.git.refs import Resolved
from corten.build.git.submodules import Submodule, parse_gitmodules, submodule_remote
from corten.build.git.trees import DIRECTORY, LINK, SUBMODULE, Commit, Item, commit_of, found, items_of, whole
from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter

_NANO = 1_000_000_000
_LINK_LIMIT = 4095
_PATH_LIMIT = 4000
_COUNT_LIMIT = 1_000_000
_DEPTH_LIMIT = 10
_SUBMODULES_LIMIT = 200
_GITMODULES_LIMIT = 1 << 20


class Fetcher(Protocol):
    """Gets repositories."""

    def objects(self, remote: str, authorization: str, object_id: str) -> Objects:
        """The objects that a commit (or a tag) needs, the caller's to close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of a repository is wanted; `subdir` alone, when it is not empty."""

    remote: str
    resolved: Resolved
    authorization: str = ""
    subdir: str = ""
    keeps_git_dir: bool = False
    submodules: bool = True


class Checkout:
    """Writes one tar, of at most `room` bytes."""

    def __init__(
        self,
        fetcher: Fetcher,
        write: Callable[[bytes], object],
        *,
        room: int,
        new_file: Callable[[], BinaryIO],
        check: Callable[[], None],
    ) -> None:
        self._fetcher = fetcher
        self._writer = TarWriter(write)
        self._room = room
        self._new_file = new_file
        self._check = check
        self._count = 0
        self._submodules = 0
        self._subdir: tuple[bytes, ...] = ()
        self._with_submodules = True
        self._is_there = False

    def write(self, wanted: Wanted) -> None:
        """The tar. Raises GitError, RegistryError, OSError."""
        self._subdir = tuple(wanted.subdir.encode("utf-8", "surrogateescape").split(b"/")) if wanted.subdir else ()
        self._is_there = not self._subdir
        self._with_submodules = wanted.submodules
        with closing(self._fetcher.objects(wanted.remote, wanted.authorization, wanted.resolved.object_id)) as objects:
            commit = commit_of(objects, bytes.fromhex(wanted.resolved.object_id))
            if wanted.resolved.commit not in (commit.object_id.hex(), wanted.resolved.object_id):
                # what a server says is behind a tag is its word; a checksum, and what is kept, are by the commit
                raise GitError(
                    f"the server says that {wanted.resolved.ref or wanted.resolved.object_id} is "
                    f"{wanted.resolved.commit}, and it is {commit.object_id.hex()}"
                )
            self._add(Entry(b"./", "directory", 0o755, 0, 0, 0, commit.time_s * _NANO))
            _Repository(self, objects, commit, wanted.remote, wanted.authorization, (), 0).write()
            if not self._is_there:
                raise GitError(f"the repository has no directory {wanted.subdir!r}")
            if wanted.keeps_git_dir and not self._subdir:
                with closing(GitDirectory(objects, commit, wanted.remote, wanted.resolved.ref, self._new_file)) as made:
                    for entry, data in made.members():
                        self._writer.add(entry, data)
        self._writer.finish()

    def _add(self, entry: Entry, objects: Objects | None = None, object_id: bytes = b"") -> None:
        self._count += 1
        if self._count % 256 == 0:
            self._check()
        self._room -= entry.size + 1024
        if self._room < 0 or self._count > _COUNT_LIMIT:
            raise GitError("the repository's files are more than a build can take, or the disk has to spare")
        self._writer.add(entry, objects.chunks(found(objects, object_id, b"blob")) if objects else ())

    def shown(self, path: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        """Where a path of the repository is in the tar; None for what is not below the wanted directory."""
        size = len(self._subdir)
        return path[size:] if len(path) > size and path[:size] == self._subdir else None

    def leads_on(self, path: tuple[bytes, ...]) -> bool:
        """Whether a directory is, or leads to, what is wanted."""
        return self._subdir[: len(path)] == path[: len(self._subdir)]

    def directory(self, path: tuple[bytes, ...], time_s: int) -> None:
        """A directory, unless it only leads to the wanted one."""
        self._is_there = self._is_there or path == self._subdir
        if (shown := self.shown(path)) is not None:
            self._add(Entry(b"/".join(shown) + b"/", "directory", 0o755, 0, 0, 0, time_s * _NANO))

    def file(self, path: tuple[bytes, ...], item: Item, objects: Objects, time_s: int) -> None:
        """A file or a link."""
        shown = self.shown(path)
        if shown is None:
            return
        name = b"/".join(shown)
        stored = found(objects, item.object_id, b"blob")
        if item.mode == LINK:
            if stored.size > _LINK_LIMIT:
                raise GitError(f"the link {name[:128]!r} of the repository is longer than a path may be")
            target = b"".join(objects.chunks(stored))
            if not target or b"\0" in target:
                raise GitError(f"the link {name[:128]!r} of the repository leads nowhere")
            self._add(Entry(name, "symlink", 0o777, 0, 0, 0, time_s * _NANO, link=target))
            return
        mode = 0o755 if item.mode & 0o100 else 0o644
        self._add(Entry(name, "file", mode, 0, 0, stored.size, time_s * _NANO), objects, item.object_id)

    def submodule(
        self, parent: _Repository, path: tuple[bytes, ...], item: Item, known: Mapping[str, Submodule], below: str
    ) -> None:
        """The files of the commit that another repository has there."""
        self.directory(path, parent.commit.time_s)
        entry = known.get(below)
        if not self._with_submodules or (entry is not None and entry.is_left_out) or not self.leads_on(path):
            return
        self._submodules += 1
        if parent.depth >= _DEPTH_LIMIT or self._submodules > _SUBMODULES_LIMIT:
            raise GitError("the repository has too many submodules, or too many within each other")
        if entry is None or not entry.url:
            raise GitError(f"no url found for submodule path {below[:128]!r} in .gitmodules")
        remote, authorization = submodule_remote(parent.remote, entry.url, below)
        if not authorization and _origin(remote) == _origin(parent.remote):
            authorization = parent.authorization
        with closing(self._fetcher.objects(remote, authorization, item.object_id.hex())) as objects:
            commit = commit_of(objects, item.object_id)
            _Repository(self, objects, commit, remote, authorization, path, parent.depth + 1).write()


@dataclass(frozen=True, slots=True)
class _Repository:
    """One repository of a checkout, whose root is at `prefix`."""

    checkout: Checkout
    objects: Objects
    commit: Commit
    remote: str
    authorization: str
    prefix: tuple[bytes, ...]
    depth: int

    def write(self) -> None:
        known: Mapping[str, Submodule] = {}
        todo: list[tuple[tuple[bytes, ...], bytes]] = [((), self.commit.tree)]
        while todo:
            path, tree = todo.pop()
            items = list(items_of(self.objects, tree))
            if not path:
                known = self._gitmodules(items)
            for item in items:
                below = (*path, item.name)
                whole_path = (*self.prefix, *below)
                if sum(map(len, whole_path)) + len(whole_path) > _PATH_LIMIT:
                    raise GitError("the repository has a path that is longer than paths may be")
                if not self.checkout.leads_on(whole_path):
                    continue
                if item.mode == DIRECTORY:
                    self.checkout.directory(whole_path, self.commit.time_s)
                    todo.append((below, item.object_id))
                elif item.mode == SUBMODULE:
                    name = b"/".join(below).decode("utf-8", "surrogateescape")
                    self.checkout.submodule(self, whole_path, item, known, name)
                else:
                    self.checkout.file(whole_path, item, self.objects, self.commit.time_s)

    def _gitmodules(self, items: list[Item]) -> Mapping[str, Submodule]:
        """A link in its place is not followed (CVE-2021-21300's kind)."""
        item = next((item for item in items if item.name == b".gitmodules"), None)
        if item is None or item.mode in (DIRECTORY, LINK, SUBMODULE):
            return {}
        return parse_gitmodules(whole(self.objects, item.object_id, b"blob", _GITMODULES_LIMIT))


def _origin(remote: str) -> str:
    scheme, _, rest = remote.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
