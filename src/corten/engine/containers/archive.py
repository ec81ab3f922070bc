"""`docker cp`, `export` and `commit`: a container's files as tar streams. Daemon.

Blocking work runs in threads with a pipe between (lib/pipe.py); descriptors are opened there and closed there.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, Protocol

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.live import Container
from corten.engine.containers.roots import Place, clean, locate, open_directory, open_parent, translated
from corten.engine.events import Events
from corten.engine.images.decompress import Readable, TarStream
from corten.errors import Forbidden, InvalidArgument
from corten.lib import blocking, codec, pipe
from corten.lib.tar import TarReader
from corten.lib.tar_writer import TarWriter
from corten.lib.timestamps import rfc3339_nano
from corten.spec.oci_image import ImageConfig
from corten.store.pack import Packer
from corten.store.unpack_into import ArchiveExtractor

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


class Snapshots(Protocol):
    """The writable layers."""

    def root_fd(self, key: str) -> int:
        """A detached mount of the whole root."""

    def upper_fd(self, key: str) -> int:
        """What the snapshot has written."""


class Freezer(Protocol):
    """Pausing, for a consistent commit (ContainerService)."""

    async def pause(self, reference: str) -> None:
        """Stop its processes."""

    async def unpause(self, reference: str) -> None:
        """Let them go on."""


class Committer(Protocol):
    """Makes images (TransferService)."""

    async def commit(
        self,
        parent_id: str,
        open_layer: Callable[[], Readable],
        config: ImageConfig,
        *,
        repository: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        created_by: str = "",
        container: str = "",
        changes: list[str] | tuple[str, ...] = (),
    ) -> str:
        """An image of the parent's layers and one more; returns its id."""


class ArchiveService:
    """Tar streams out of and into containers."""

    def __init__(
        self,
        *,
        containers: ContainerLookup,
        snapshots: Snapshots,
        freezer: Freezer,
        images: Committer,
        events: Events,
    ) -> None:
        self._containers = containers
        self._snapshots = snapshots
        self._freezer = freezer
        self._images = images
        self._events = events

    # -- out

    async def stat(self, reference: str, path: str) -> PathStat:
        """What is at `path`; a link at its end is not followed. Raises PathNotFound."""
        container = self._containers.find(reference)
        return await blocking.run(self._stat, container, path)

    def _stat(self, container: Container, path: str) -> PathStat:
        wanted = clean(path)
        with locate(container.record, self._snapshots, wanted) as place:
            parent, name = self._open(place, path, container)
            try:
                status = _lstat(parent, name, _missing(path, container))
                target = os.fsdecode(os.readlink(name, dir_fd=parent)) if stat.S_ISLNK(status.st_mode) else ""
            finally:
                os.close(parent)
        if target:
            target = clean(posixpath.join(posixpath.dirname(wanted), target))
        return PathStat(
            name=posixpath.basename(wanted) or "/",
            size=status.st_size,
            mode=go_mode(status.st_mode),
            mtime=rfc3339_nano(status.st_mtime_ns),
            link_target=target,
        )

    @staticmethod
    def _open(place: Place, path: str, container: Container) -> tuple[int, bytes]:
        """The parent and last name; a path that ends in a slash or dot means what a link leads to."""
        if path.endswith(("/", "/.")) or place.path == "/":
            return open_directory(place, _missing(path, container)), b"."
        return open_parent(place, _missing(path, container))

    async def get(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """What is at `path`, and it as a tar rooted at its base name. Raises PathNotFound."""
        container = self._containers.find(reference)
        found = await self.stat(reference, path)
        announce(self._events, container.record, "archive-path")
        return found, pipe.produced(lambda file: self._pack(container, path, file))

    def _pack(self, container: Container, path: str, file: BinaryIO) -> None:
        wanted = clean(path)
        with locate(container.record, self._snapshots, wanted) as place:
            parent, name = self._open(place, path, container)
            try:
                status = _lstat(parent, name, _missing(path, container))
                base = b"." if path.endswith("/.") or wanted == "/" else os.fsencode(posixpath.basename(wanted))
                writer = TarWriter(file.write)
                packer = Packer(writer)
                packer.entry(parent, name, base, status)
                if stat.S_ISDIR(status.st_mode):
                    directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                    try:
                        packer.tree(directory, base + b"/")
                    finally:
                        os.close(directory)
                writer.finish()
            finally:
                os.close(parent)

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        """The whole root file system as a tar."""
        container = self._containers.find(reference)
        announce(self._events, container.record, "export")
        return pipe.produced(lambda file: self._export(container, file))

    def _export(self, container: Container, file: BinaryIO) -> None:
        root = self._snapshots.root_fd(container.id)
        try:
            writer = TarWriter(file.write)
            Packer(writer).tree(root)
            writer.finish()
        finally:
            os.close(root)

    # -- in

    async def put(self, reference: str, path: str, body: AsyncIterator[bytes], *, keep_kinds: bool, own: bool) -> None:
        """Unpack an archive (compressed or not) into the directory `path`. Raises PathNotFound, Forbidden."""
        container = self._containers.find(reference)
        await blocking.run(self._check_target, container, path)
        await pipe.consumed(body, lambda file: self._unpack(container, path, file, keep_kinds=keep_kinds, own=own))
        announce(self._events, container.record, "extract-to-dir")

    def _check_target(self, container: Container, path: str) -> None:
        """Refuse before the body is read."""
        with locate(container.record, self._snapshots, clean(path)) as place:
            os.close(self._target(place, path, container))

    @staticmethod
    def _target(place: Place, path: str, container: Container) -> int:
        try:
            fd = open_directory(place, _missing(path, container))
        except NotADirectoryError as error:
            raise InvalidArgument("extraction point is not a directory") from error
        if place.read_only:
            os.close(fd)
            raise Forbidden("container rootfs is marked read-only")
        return fd

    def _unpack(self, container: Container, path: str, file: io.BufferedIOBase, *, keep_kinds: bool, own: bool) -> None:
        with locate(container.record, self._snapshots, clean(path)) as place:
            target = self._target(place, path, container)
            try:
                extractor = ArchiveExtractor(
                    target,
                    root_fd=place.root,
                    directory=os.fsencode(place.path),
                    owner=_numeric_owner(container.record.config.user) if own else None,
                    keep_kinds=keep_kinds,
                )
                extractor.extract(TarReader(TarStream(file)))
            except OSError as error:
                if error.errno == errno.EROFS:
                    raise Forbidden("container rootfs is marked read-only") from error
                raise
            finally:
                os.close(target)

    # -- commit

    async def commit(
        self,
        reference: str,
        *,
        repository: str,
        tag: str,
        author: str,
        comment: str,
        changes: list[str],
        pause: bool,
    ) -> str:
        """An image of the container's image and what it has written; returns the id."""
        container = self._containers.find(reference)
        record = container.record
        freeze = pause and str(record.status.status) == "running"
        if freeze:
            await self._freezer.pause(container.id)
        try:
            image = await self._images.commit(
                record.image_id,
                lambda: _Layer(self._snapshots.upper_fd(container.id)),
                image_config(record.config),
                repository=repository,
                tag=tag,
                author=author,
                comment=comment,
                created_by=" ".join(record.argv),
                container=container.id,
                changes=changes,
            )
        finally:
            if freeze:
                await self._freezer.unpause(container.id)
        announce(self._events, record, "commit", comment=comment, imageID=image, imageRef=repository)
        return image


class _Layer(io.RawIOBase):
    """A layer's tar, spooled to an unnamed file: the store reads it once, but a tar is written, not read."""

    def __init__(self, upper_fd: int) -> None:
        fd = os.open("/var/tmp", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "w+b")
        try:
            writer = TarWriter(self._file.write)
            Packer(writer, layer=True).tree(upper_fd)
            writer.finish()
            self._file.seek(0)
        except BaseException:
            self._file.close()
            raise
        finally:
            os.close(upper_fd)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def image_config(config: object) -> ImageConfig:
    """What an image keeps of a container's configuration."""
    plain = codec.to_plain(config)
    names = {field.encode_name for field in msgspec.structs.fields(ImageConfig)}
    kept = {key: value for key, value in plain.items() if key in names and value not in (None, "", [], {})}
    for key in ("Cmd", "Entrypoint", "Shell"):
        if isinstance(kept.get(key), str):
            kept[key] = [kept[key]]
    return codec.from_plain(ImageConfig, kept)


def go_mode(mode: int) -> int:
    """A Unix mode as Go's os.FileMode."""
    value = mode & 0o777
    value |= next((bits for check, bits in _GO_MODES if check(mode)), 0)
    for unix, bits in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        if mode & unix:
            value |= bits
    return value


def _missing(path: str, container: Container) -> str:
    return f"Could not find the file {path} in container {container.id}"


def _lstat(parent: int, name: bytes, not_found: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        raise translated(error, not_found) from error


def _numeric_owner(user: str) -> tuple[int, int]:
    """The owner that `cp -a` gives: the container's user when it is given by number, else root."""
    uid, _colon, gid = user.partition(":")
    return int(uid) if uid.isdigit() else 0, int(gid) if gid.isdigit() else 0
