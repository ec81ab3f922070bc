"""What a layer's files are kept as: a directory of files, or an image. Blocking; daemon, as root.

Both are made in a new directory that nothing refers to yet, and are on disk when `write` returns. `fs` in it is where
the files are, or where the image's mount belongs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from corten.lib.atomicfile import fsync_dir
from corten.lib.tar import Readable, TarReader
from corten.linux.syncfs import syncfs
from corten.store.erofs.layout import DATA_START, image_size
from corten.store.erofs.mount import Backing, mount_image
from corten.store.erofs.writer import write_image
from corten.store.extract import LayerExtractor
from corten.store.snapshots.lookup import inherited_from

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
IMAGE = "layer.erofs"


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

    def write(self, home: Path, below: Sequence[Path], stream: Readable) -> int:
        """Make the layer of a tar in `home`, a new directory; the bytes of its files.

        `below` are the roots of the layers that it stands on, topmost first. Raises InvalidTar, OSError; `home` is
        then the caller's to remove.
        """

    def check(self, home: Path) -> list[str]:
        """What is wrong with the layer in `home`, besides what its files tell when they are walked."""

    def mount(self, home: Path) -> int | None:
        """The detached mount that belongs onto `home`/fs, the caller's to close; None when the files are there."""


class Directories:
    """Unpacked files, as on any kernel."""

    name = "overlay2"
    mounted = False
    status = (("Supports d_type", "true"),)

    def write(self, home: Path, below: Sequence[Path], stream: Readable) -> int:
        """Unpack."""
        (home / "fs").mkdir()
        fd = os.open(home / "fs", _DIRECTORY)
        try:
            os.fchmod(fd, 0o755)
            extractor = LayerExtractor(fd, inherited_from(below))
            extractor.extract(TarReader(stream))
            syncfs(fd)
        finally:
            os.close(fd)
        return extractor.size

    def check(self, home: Path) -> list[str]:  # noqa: ARG002 - the form of a format
        """Nothing besides."""
        return []

    def mount(self, home: Path) -> None:
        """Nothing to mount."""


class Images:
    """One EROFS image a layer, with the tar inside (store/erofs)."""

    name = "erofs"
    mounted = True

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self.status = (("Image Backing", backing.value),)

    def write(self, home: Path, below: Sequence[Path], stream: Readable) -> int:
        """Write the image. Its pages stay in memory as long as there is room: the first container reads them."""
        (home / "fs").mkdir()
        fd = os.open(home / IMAGE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = write_image(fd, stream, inherited_from(below))
            os.fsync(fd)
        finally:
            os.close(fd)
        for path in (home / "fs", home):
            fsync_dir(path)
        return size

    def check(self, home: Path) -> list[str]:
        """Whether the image is whole: a mounted one shows names and sizes also when its bytes are cut off."""
        try:
            with open(home / IMAGE, "rb") as file:
                said, is_ = image_size(file.read(DATA_START)), os.fstat(file.fileno()).st_size
        except OSError as error:
            return [f"its image is not here: {error.strerror}"]
        return [] if said == is_ else [f"its image has {is_} bytes, and says it has {said}"]

    def mount(self, home: Path) -> int:
        """The image's mount."""
        return mount_image(home / IMAGE, self._backing)
