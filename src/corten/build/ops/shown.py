"""What the client sent, as steps see it by `RUN --mount=type=bind`: one read-only view for all of a build. Daemon's
loop; disk threads.

What a bind shows is written as one EROFS image into a file without a name, from its beginning to its end, and mounted:
fifty thousand files are no inodes of the disk, and nothing is to be deleted but a mount. The bytes are copied, and
checked against the digests in the step's cache key, so that whoever may still write to the sources changes nothing
below a step. Where the kernel mounts no images, the files are unpacked into a directory. A bind that may be written is
an overlay upon the view, whose changes are thrown away with its step.

A mount holds the image. A killed daemon leaves mounts below `directory`, which the next start takes away
(`mount_homes.sweep`), and files below `scratch`, which it empties.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from corten.build.copying.layer import Attributes, EntryWriter, LayerPlan
from corten.build.copying.select import Selection, take
from corten.build.graph import Vertex
from corten.build.operations import Mount
from corten.build.ops.inputs import Inputs
from corten.build.ops.mount_homes import UNPACKED, attach, make_home, remove_home
from corten.build.ops.store import LayerStore
from corten.build.trees.tree import EmptyTree
from corten.engine.images.settled import never_half_done
from corten.lib import blocking
from corten.lib.tar import TarReader
from corten.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, new_filesystem
from corten.store.erofs.shown import ImageWriter
from corten.store.extract import LayerExtractor
from corten.store.pack import PipedTar

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = "shown"
# What the files say about overlayfs must not be obeyed (CVE list: overlay xattr injection).
_OPTIONS = (("source", "overlay"), ("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))


@dataclass(slots=True)
class _View:
    """The files are in `root`/shown, as long as it has users: steps, and the build itself."""

    root: Path
    users: int = 1


class ShownFiles:
    """The views of one build. `scratch` is on the disk of images, where `new_file` makes files without names."""

    def __init__(
        self,
        *,
        store: LayerStore,
        inputs: Inputs,
        directory: Path,
        scratch: Path,
        new_file: Callable[[], BinaryIO],
    ) -> None:
        self._store = store
        self._inputs = inputs
        self._directory = directory
        self._unpacked = scratch / UNPACKED
        self._new_file = new_file
        self._views: dict[tuple[str, str], _View] = {}
        self._making = asyncio.Lock()  # one at a time: they read one disk

    @asynccontextmanager
    async def hold(self, vertex: Vertex, mount: Mount) -> AsyncIterator[str]:
        """Where on the host the files of a bind are, as long as the block. Raises NotFound, OSError, and what the
        context's tree raises."""
        key = (vertex.inputs[mount.input].digest, mount.source)
        async with self._making:
            if key not in self._views:
                self._views[key] = await self._make(vertex, mount)
            view = self._views[key]
            view.users += 1
        try:
            if mount.read_only:
                yield os.path.join(view.root, _NAME)
            else:
                async with self._writable(view) as root:
                    yield os.path.join(root, _NAME)
        finally:
            await self._release(view)

    async def close(self) -> None:
        """The build is over: views go that no kept step has."""
        if self._views:
            await self._close()

    @never_half_done
    async def _close(self) -> None:
        views, self._views = list(self._views.values()), {}
        await _each(self._release(view) for view in views)

    async def _make(self, vertex: Vertex, mount: Mount) -> _View:
        is_image = self._store.mounts_images
        home = (self._directory if is_image else self._unpacked) / secrets.token_hex(32)
        try:
            root = await self._store.work(self._mount_image if is_image else self._unpack, vertex, mount, home)
        except BaseException:
            await self._remove(home)
            raise
        return _View(root)

    def _mount_image(self, vertex: Vertex, mount: Mount, home: Path) -> Path:
        with self._new_file() as file:
            writer = ImageWriter(file.fileno())
            self._write(vertex, mount, writer)
            writer.finish()
            root = make_home(home)
            fd = self._store.mount_image(file.fileno())
            try:
                attach(fd, root)
            finally:
                os.close(fd)
        return root

    def _unpack(self, vertex: Vertex, mount: Mount, home: Path) -> Path:
        root = make_home(home)
        tar = PipedTar(lambda writer: self._write(vertex, mount, writer))
        try:
            fd = os.open(root, _DIRECTORY)
            try:
                LayerExtractor(fd, lambda _path: None).extract(TarReader(tar))
            finally:
                os.close(fd)
        finally:
            tar.close()
        return root

    def _write(self, vertex: Vertex, mount: Mount, writer: EntryWriter) -> None:
        """What the client sent, as far as it is shown; it is root's."""
        with self._inputs.open(vertex, [None] * len(vertex.inputs)) as trees:
            plan = LayerPlan(EmptyTree(), Attributes(now_ns=self._store.now_ns()))
            taken = take(trees[mount.input], mount.source, keeps_owner=False)
            plan.place(Selection((taken,), several=False), f"/{_NAME}")
            plan.write(writer)

    @asynccontextmanager
    async def _writable(self, view: _View) -> AsyncIterator[Path]:
        """The root of a view that may be written, for a step of its own."""
        name = secrets.token_hex(32)
        home, changes = self._directory / name, self._unpacked / name
        try:
            yield await self._store.work(_overlay, view.root, home, changes)
        finally:
            await self._remove(home, changes)

    async def _release(self, view: _View) -> None:
        view.users -= 1
        if not view.users:
            await self._remove(view.root.parent)

    @never_half_done
    async def _remove(self, *homes: Path) -> None:
        await _each(blocking.run(remove_home, home) for home in homes)


async def _each(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """One after the other, also behind one that fails; raises the first error."""
    errors: list[OSError] = []
    for work in works:
        try:
            await work
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _overlay(lower: Path, home: Path, changes: Path) -> Path:
    """Mount an overlay upon `lower`, with its changes below `changes`; where it is. Blocking. Raises OSError."""
    root = make_home(home)
    upper = make_home(changes)
    os.chmod(upper, 0o755)
    work = changes / "work"
    work.mkdir(mode=0o700)
    # by descriptor: fsconfig(2) takes 255 bytes before Linux 6.8, and a path's colons would mean several directories
    fds = [os.open(path, _PLACE) for path in (lower, upper, work)]
    try:
        options = zip(("lowerdir", "upperdir", "workdir"), (f"/proc/self/fd/{fd}" for fd in fds), strict=True)
        mount_fd = new_filesystem("overlay", [*options, *_OPTIONS], MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID)
        try:
            if os.fstatvfs(mount_fd).f_flag & os.ST_RDONLY:  # without an error, where it can make nothing in `work`
                (work / "probe").mkdir()
                raise OSError("the overlay of a bind cannot be written")
            attach(mount_fd, root)
        finally:
            os.close(mount_fd)
    finally:
        for fd in fds:
            os.close(fd)
    return root
