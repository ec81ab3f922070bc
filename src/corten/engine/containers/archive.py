"""`docker cp`: a path of a container as a tar, and a tar into a directory of a container. Daemon.

Blocking work runs in threads with a pipe between (lib/pipe.py); descriptors are opened there and closed there. A
stopped container that is written to cannot be started meanwhile: two mounts of one writable layer harm each other.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Protocol

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.live import Container
from corten.engine.containers.roots import (
    ContainerRoot,
    Place,
    Snapshots,
    Wanted,
    container_root,
    open_directory,
    open_parent,
    wanted,
    worded,
)
from corten.engine.containers.users import read_accounts, resolve_user
from corten.engine.events import Events
from corten.engine.images.decompress import TarStream
from corten.errors import Forbidden, InvalidArgument, NotFound
from corten.lib import blocking, pipe
from corten.lib.disk_full import saying
from corten.lib.tar import TarReader
from corten.lib.tar_writer import TarWriter
from corten.lib.timestamps import rfc3339_nano
from corten.spec.docker import messages
from corten.store.pack import Packer
from corten.store.unpack_into import ArchiveExtractor

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GO_MODES = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
)


class PathStat(msgspec.Struct, rename="camel"):
    """What clients learn of a path before they copy. `mode` is Go's os.FileMode."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


class ContainerLookup(Protocol):
    """Containers by what a client calls them."""

    def find(self, reference: str) -> Container:
        """Raises NotFound."""


class ArchiveService:
    """Tar streams out of and into containers."""

    def __init__(self, *, containers: ContainerLookup, snapshots: Snapshots, events: Events) -> None:
        self._containers = containers
        self._snapshots = snapshots
        self._events = events

    # -- out

    async def stat(self, reference: str, path: str) -> PathStat:
        """What is at `path`; a link at its end is not followed. Raises PathNotFound."""
        container = self._containers.find(reference)
        return await blocking.run(self._stat, container, wanted(path), reference)

    def _stat(self, container: Container, target: Wanted, reference: str) -> PathStat:
        with (
            worded(target.text, reference),
            container_root(container.record, self._snapshots, writable=False) as root,
        ):
            path = root.canonical(target.path, last=target.follow)
            parent, name = open_parent(root.place(path))
            try:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
            link = root.canonical(path, last=True) if stat.S_ISLNK(status.st_mode) else ""
        if target.follow and target.base != "." and not stat.S_ISDIR(status.st_mode):
            raise InvalidArgument(f"lstat {target.text}: not a directory")
        return PathStat(
            name=target.base,
            size=status.st_size,
            mode=go_mode(status.st_mode),
            mtime=rfc3339_nano(status.st_mtime_ns),
            link_target=link.encode("utf-8", "replace").decode(),
        )

    async def get(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """What is at `path`, and it as a tar rooted at its base name. Raises PathNotFound."""
        container = self._containers.find(reference)
        found = await self.stat(reference, path)
        announce(self._events, container.record, "archive-path")
        return found, pipe.produced(lambda file: self._pack(container, wanted(path), file))

    def _pack(self, container: Container, target: Wanted, file: BinaryIO) -> None:
        with container_root(container.record, self._snapshots, writable=False) as root:
            writer = TarWriter(file.write)
            path = root.canonical(target.path, last=target.follow)
            _add(root, Packer(writer), path, os.fsencode(target.base))
            writer.finish()

    # -- in

    async def put(self, reference: str, path: str, body: AsyncIterator[bytes], *, keep_kinds: bool, own: bool) -> None:
        """Unpack an archive (compressed or not) into the directory `path`. Raises PathNotFound, Forbidden."""
        container = self._containers.find(reference)
        target = wanted(path)
        async with _kept_as_it_is(container):
            await blocking.run(self._check_target, container, target, reference)
            await pipe.consumed(
                body, lambda file: self._unpack(container, target, reference, file, keep_kinds=keep_kinds, own=own)
            )
        announce(self._events, container.record, "extract-to-dir")

    def _check_target(self, container: Container, target: Wanted, reference: str) -> None:
        """Refuse before the body is read."""
        with container_root(container.record, self._snapshots, writable=True) as root:
            _place, fd = _open_target(root, target, reference)
            os.close(fd)

    def _unpack(
        self,
        container: Container,
        target: Wanted,
        reference: str,
        file: io.BufferedIOBase,
        *,
        keep_kinds: bool,
        own: bool,
    ) -> None:
        with container_root(container.record, self._snapshots, writable=True) as root:
            place, fd = _open_target(root, target, reference)
            try:
                extractor = ArchiveExtractor(
                    fd,
                    root_fd=place.root,
                    directory=os.fsencode(place.path),
                    shown_as=target.path,
                    owner=_owner(root, container.record.config.user) if own else None,
                    keep_kinds=keep_kinds,
                )
                with saying(f"write below {target.path} of container {container.id}"):
                    extractor.extract(TarReader(TarStream(file)))
            except OSError as error:
                if error.errno == errno.EROFS:
                    raise Forbidden("container rootfs is marked read-only") from error
                raise
            finally:
                os.close(fd)


def _add(root: ContainerRoot, packer: Packer, path: str, base: bytes) -> None:
    """What is at a path without links, named `base`, with all below it and the mounts there."""
    prefix = base if base.endswith(b"/") else base + b"/"
    parent, name = open_parent(root.place(path))
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        packer.entry(parent, name, base, status)
        if not stat.S_ISDIR(status.st_mode):
            return
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
    finally:
        os.close(parent)

    def enters(below: bytes, crossing: bool) -> bool:
        return root.enters(posixpath.join(path, os.fsdecode(below)), crossing=crossing)

    try:
        packer.tree(directory, prefix, enters=enters)
    finally:
        os.close(directory)
    for mounted in root.mounts_below(path):
        _add(root, packer, mounted, prefix + os.fsencode(posixpath.relpath(mounted, path)))


def _open_target(root: ContainerRoot, target: Wanted, reference: str) -> tuple[Place, int]:
    """Where an archive is to be unpacked, opened. Raises PathNotFound, InvalidArgument, Forbidden."""
    with worded(target.text, reference):
        place = root.place(root.canonical(target.path, last=True))
        try:
            fd = open_directory(place)
        except NotADirectoryError as error:
            raise InvalidArgument("extraction point is not a directory") from error
    if not place.read_only and not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        return place, fd
    os.close(fd)
    what = "container rootfs" if place.root == root.fd else "mounted volume"
    raise Forbidden(f"{what} is marked read-only")


@asynccontextmanager
async def _kept_as_it_is(container: Container) -> AsyncIterator[None]:
    """Hold the lock of a container without processes, so that it stays one."""
    if container.record.status.status.has_process:
        yield
        return
    async with container.lock:
        if container.removed:
            raise NotFound(messages.NO_SUCH_CONTAINER.format(container.id))
        if not container.record.status.status.has_process:
            yield
            return
    yield  # it was started while we waited


def _owner(root: ContainerRoot, user: str) -> tuple[int, int] | None:
    """The owner that `cp -a` gives: the container's user; without one the archive's owners stay."""
    if not user:
        return None
    identity = resolve_user(user, (), read_accounts(root.fd))
    return identity.uid, identity.gid


def go_mode(mode: int) -> int:
    """A Unix mode as Go's os.FileMode."""
    value = mode & 0o777
    value |= next((bits for check, bits in _GO_MODES if check(mode)), 0)
    for unix, bits in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        if mode & unix:
            value |= bits
    return value
