"""What a layer's files are kept as: a directory of files, or an image. Blocking; daemon, as root.

Both are made in a new directory that nothing refers to yet, and are on disk when `write` returns. `fs` in it is where
the files are, or where the image's mount belongs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from corten.lib.atomicfile import fsync_dir
from corten.lib.tar import Readable, TarReader
from corten.linux import tree
from corten.linux.syncfs import syncfs
from corten.store.erofs.check import metadata_digest, problems
from corten.store.erofs.mount import Backing, mount_image, mount_open_image
from corten.store.erofs.writer import write_image
from corten.store.extract import LayerExtractor
from corten.store.snapshots.lookup import inherited_from
from corten.store.snapshots.rows import Layer

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IMAGE = "layer.erofs"


class LayerFormat(Protocol):
    """A way to keep layers."""

    @property
    def name(self) -> str:
        """The driver's name, for `info` and inspect."""

    @property
    def mounted(self) -> bool:
        """Whether layers must be mounted, and hence roots are made by who has the mounts."""

    @property
    def status(self) -> Sequence[tuple[str, str]]:
        """More lines for `info`."""

    def write(self, home: Path, below: Sequence[Path], stream: Readable) -> Written:
        """Make the layer of a tar in `home`, a new directory.

        `below` are the roots of the layers that it stands on, topmost first. Raises InvalidTar, OSError; `home` is
        then the caller's to remove.
        """

    def mount(self, home: Path) -> int | None:
        """The detached mount that belongs onto `home`/fs, the caller's to close; None when the files are there."""

    def mount_image(self, fd: int, attributes: int) -> int:
        """An image of files (store/erofs) as a detached mount, the caller's to close; only where layers are mounted."""

    def problems(self, home: Path, layer: Layer, chain_id: str) -> list[str]:
        """What is wrong with the layer that is kept in `home`. Raises OSError."""


class Written(NamedTuple):
    """What is to be recorded of a new layer; see rows.Layer."""

    size: int
    tar: int = 0
    metadata: str = ""


class Directories:
    """Unpacked files, as on any kernel."""

    name = "overlay2"
    mounted = False
    status = (("Supports d_type", "true"),)

    def write(self, home: Path, below: Sequence[Path], stream: Readable) -> Written:
        """Unpack."""
        (home / "fs").mkdir()
        fd = os.open(home / "fs", _DIRECTORY)
        try:
            os.fchmod(fd, 0o755)
            extractor = LayerExtractor(fd, inherited_from(below))
            extractor.extract(TarReader(stream))
            size = extractor.size()
            syncfs(fd)
        finally:
            os.close(fd)
        return Written(size)

    def mount(self, home: Path) -> None:
        """Nothing to mount."""

    def mount_image(self, fd: int, attributes: int) -> int:  # noqa: ARG002 - the seam's
        """Who asks for `mounted` does not ask for this."""
        raise OSError(errno.ENOSYS, "this storage driver mounts no images")

    def problems(self, home: Path, layer: Layer, chain_id: str) -> list[str]:  # noqa: ARG002 - the seam's
        """Whether there are as many bytes as were unpacked."""
        fd = os.open(home / "fs", _DIRECTORY)
        try:
            size = tree.usage(fd)
        finally:
            os.close(fd)
        return [] if size == layer.size else [f"its files have {size} bytes, and had {layer.size} when it was unpacked"]


class Images:
    """One EROFS image a layer, with the tar inside (store/erofs)."""

    name = "erofs"
    mounted = True

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self.status = (("Image Backing", backing.value),)

    def write(self, home: Path, below: Sequence[Path], stream: Readable) -> Written:
        """Write the image. Its pages stay in memory as long as there is room: the first container reads them."""
        (home / "fs").mkdir()
        fd = os.open(home / _IMAGE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size, tar = write_image(fd, stream, inherited_from(below))
            metadata = metadata_digest(fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        for path in (home / "fs", home):
            fsync_dir(path)
        return Written(size, tar, metadata)

    def mount(self, home: Path) -> int:
        """The image's mount."""
        return mount_image(home / _IMAGE, self._backing)

    def mount_image(self, fd: int, attributes: int) -> int:
        """The mount of an image in an open file."""
        return mount_open_image(fd, self._backing, attributes)

    def problems(self, home: Path, layer: Layer, chain_id: str) -> list[str]:
        """Whether the image is the one that was written, by its digests."""
        return problems(
            home / _IMAGE, metadata=layer.metadata, tar_size=layer.tar, chain_id=chain_id, parent=layer.parent
        )
