"""Images as read-only directories of the machine: mount, unmount, and what a restart finds of it. Daemon.

The daemon mounts, in its own mount namespace, which is the machine's; so a mount needs no process that holds it. Its
row is written before it is attached and deleted after it is gone: after a crash, a row without its mount is dropped.
Whether a mount is still ours is told by its device and, since the kernel gives a free device's number to the next who
wants one, by its type and options: what somebody else mounted there is never taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from corten.engine.images.catalog import ImageNotFound
from corten.engine.images.library import ImageLibrary
from corten.engine.images.settled import never_half_done
from corten.engine.images.stores import Records
from corten.errors import Conflict, InvalidArgument, NotFound
from corten.lib import blocking, codec
from corten.linux.mount import AT_FDCWD, MNT_DETACH, UMOUNT_NOFOLLOW, move_mount, umount2
from corten.linux.mount_table import mounted_at
from corten.linux.openat2 import RESOLVE_NO_SYMLINKS, openat2
from corten.spec.corten.image import ImageMount

_LOG = logging.getLogger("corten.images")
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class NotMounted(NotFound):
    """No image is mounted there."""

    code = "image-not-mounted"


class ImageRoots(Protocol):
    """The snapshot driver, as far as mounts need it."""

    def image_fd(self, chain_id: str) -> int:
        """A detached, read-only mount of an image's layers; the caller closes it."""


class MountRow(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What is stored of a mount, by its directory. `made`: the directory is the engine's own.

    `options` are known once it is attached: which layers it shows.
    """

    image_id: str
    image: str
    device: int
    options: str = ""
    made: bool = False


class ImageMounts:
    """All mounted images; one a daemon. `directory` is where mounts without a target of their own are made."""

    def __init__(
        self, *, library: ImageLibrary, roots: ImageRoots, records: Records, directory: Path, forbidden: Iterable[Path]
    ) -> None:
        self._library = library
        self._roots = roots
        self._records = records
        self._directory = directory
        self._forbidden = [os.path.realpath(path) for path in forbidden]
        self._rows: dict[str, MountRow] = {}
        self._pending: dict[str, MountRow] = {}
        self._lock = asyncio.Lock()

    def recover(self) -> None:
        """Take over what is still mounted, and forget the rest. Blocking; at the daemon's start."""
        for target, raw in list(self._records.list()):
            row = codec.decode(MountRow, raw)
            if is_ours(target, row):
                self._rows[target] = row
                if self._library.catalog.get(row.image_id) is None:
                    _LOG.warning("an image that is gone is mounted", extra={"image": row.image, "target": target})
            else:
                self._forget(target, row)

    def of(self, image_id: str) -> list[str]:
        """The directories where an image is mounted, or is about to be."""
        rows = [*self._rows.items(), *self._pending.items()]
        return list(dict.fromkeys(target for target, row in rows if row.image_id == image_id))

    def list_(self) -> list[ImageMount]:
        """All of them, by directory."""
        return [
            ImageMount(target=target, image_id=row.image_id, image=row.image)
            for target, row in sorted(self._rows.items())
        ]

    @never_half_done
    async def mount(self, name: str, target: str = "") -> ImageMount:
        """Mount an image at a directory, or at one made for it.

        Raises ImageNotFound, InvalidArgument, NotFound or Conflict for a directory that will not do, OSError.
        """
        async with self._lock:
            entry, found = self._library.catalog.lookup(name)
            shown = found.familiar if found else entry.id
            row = MountRow(image_id=entry.id, image=shown, device=0, made=not target)
            if row.made:
                target = str(self._directory / secrets.token_hex(6))
            self._pending = {target: row}  # from here on nobody removes the image
            try:
                async with self._library.lease(entry.chain):
                    mounted = await blocking.run(self._mount, entry.chain_id, row, target)
                    if self._library.catalog.get(entry.id) is None:  # its removal was decided before
                        await blocking.run(self._unmount_all, [mounted.target], True)
                        raise ImageNotFound(f"No such image: {name}")
                return mounted
            finally:
                self._pending = {}

    def _mount(self, chain_id: str, row: MountRow, target: str) -> ImageMount:
        with contextlib.ExitStack() as closing:
            if row.made:
                os.makedirs(target, mode=0o700)
                closing.callback(_remove_unless_mounted, target)
            at = self._open(target)
            closing.callback(os.close, at)
            target = os.readlink(f"/proc/self/fd/{at}")
            if target in self._rows:
                raise Conflict(f"{self._rows[target].image} is mounted at {target}")
            root = self._roots.image_fd(chain_id)
            closing.callback(os.close, root)
            row = msgspec.structs.replace(row, device=os.fstat(root).st_dev)
            self._records.put_all({target: codec.encode(row)})
            try:
                move_mount(root, at)
            except BaseException:
                self._records.delete(target)
                raise
            attached = mounted_at(target)
            row = msgspec.structs.replace(row, options=attached.options if attached else "")
            self._records.put_all({target: codec.encode(row)})
            self._rows[target] = row
        return ImageMount(target=target, image_id=row.image_id, image=row.image)

    def _open(self, target: str) -> int:
        if not target.startswith("/") or "\0" in target or len(target) > 4096:
            raise InvalidArgument(f"cannot mount at {target[:256]!r}: it is no absolute path")
        try:
            fd = os.open(target, _DIRECTORY)
        except FileNotFoundError:
            raise NotFound(f"cannot mount at {target}: no such directory") from None
        except NotADirectoryError:
            raise InvalidArgument(f"cannot mount at {target}: it is no directory") from None
        path = os.readlink(f"/proc/self/fd/{fd}")
        if not self._may_be_covered(path):
            os.close(fd)
            raise InvalidArgument(f"cannot mount at {target}: the engine keeps its own files there")
        return fd

    def _may_be_covered(self, path: str) -> bool:
        """Whether a mount at `path` leaves the engine's own files alone: it is neither among them nor above them."""
        if path.startswith(f"{os.path.realpath(self._directory)}/"):
            return True
        below = path.rstrip("/") + "/"
        return not any(below.startswith(f"{root}/") or root.startswith(below) for root in self._forbidden)

    @never_half_done
    async def unmount(self, text: str, *, force: bool = False) -> list[ImageMount]:
        """Unmount a directory, or every mount of an image; `force` also takes what is in use from its users.

        Raises NotMounted, Conflict (it is in use), OSError.
        """
        async with self._lock:
            return await blocking.run(self._unmount_all, self._targets(text), force)

    def _targets(self, text: str) -> list[str]:
        if text.startswith("/"):
            path = os.path.normpath(text)
            if path not in self._rows:
                path = os.path.realpath(path)
            if path not in self._rows:
                raise NotMounted(f"no image is mounted at {text}")
            return [path]
        entry, _ = self._library.catalog.lookup(text)
        targets = self.of(entry.id)
        if not targets:
            raise NotMounted(f"image {text} is not mounted")
        return targets

    def _unmount_all(self, targets: list[str], force: bool) -> list[ImageMount]:
        done = []
        for target in targets:
            row = self._rows[target]
            if is_ours(target, row):
                try:
                    take_away(target, row, force=force)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    raise Conflict(f"{target} is in use", hint="leave the directory, or unmount with --force") from None
            self._forget(target, row)
            done.append(ImageMount(target=target, image_id=row.image_id, image=row.image))
        return done

    def _forget(self, target: str, row: MountRow) -> None:
        if row.made:
            _remove_unless_mounted(target)
        self._records.delete(target)
        self._rows.pop(target, None)


def take_away(target: str, row: MountRow, *, force: bool) -> None:
    """Unmount what `row` tells of at `target`. Raises OSError.

    By the descriptor of the directory above: whoever owns one on the way may just have put a link in its place.
    """
    above, name = os.path.split(target)
    fd = openat2(AT_FDCWD, above, _DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
    try:
        place = f"/proc/self/fd/{fd}/{name}"
        if os.lstat(place).st_dev != row.device:
            raise OSError(errno.ESTALE, "something else was put there meanwhile", target)
        umount2(place, UMOUNT_NOFOLLOW | (MNT_DETACH if force else 0))
    finally:
        os.close(fd)


def is_ours(target: str, row: MountRow) -> bool:
    """Whether what is mounted at `target` is what `row` tells of."""
    found = mounted_at(target)
    if found is None or (found.device, found.fstype) != (row.device, "overlay"):
        return False
    return row.options in ("", found.options)


def _remove_unless_mounted(directory: str) -> None:
    with contextlib.suppress(OSError):
        if mounted_at(directory) is None and stat.S_ISDIR(os.lstat(directory).st_mode):
            os.rmdir(directory)
