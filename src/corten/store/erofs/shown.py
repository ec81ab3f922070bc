"""Write files that are read from anywhere as one read-only image: no tar, no file each. Blocking; disk threads.

    [4096 bytes: the superblock at 1024][each file's bytes, from a whole block on][inodes][directories]

It takes entries in a tar's order and by a tar's rules (`tree.py`), and writes the file from its beginning to its end.
The image is for the while that somebody looks at it: nothing is synced.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from corten.lib.tar import Entry
from corten.store.erofs import layout
from corten.store.erofs.appender import Appender, whole_blocks
from corten.store.erofs.tree import LayerTree
from corten.store.erofs.writer import write_metadata


class ImageWriter:
    """Writes to an empty file; `finish` makes an image of it. Entries have no sparse maps: `data` holds the zeros."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._out = Appender(fd, layout.DATA_START)
        self._tree = LayerTree(lambda _path: None, now_ns=time.time_ns())

    def add(self, entry: Entry, data: Iterable[bytes] = ()) -> None:
        """One entry; `data` must give exactly `entry.size` bytes for a file. Raises InvalidTar, OSError, and ValueError
        for data of another size."""
        start = whole_blocks(self._out.end)
        self._tree.place(entry, start)
        if entry.kind != "file" or not entry.size:
            return
        self._out.put(b"", start)
        for chunk in data:
            self._out.append(chunk)
        if self._out.end != start + entry.size:
            raise ValueError(f"{entry.name!r}: the data has {self._out.end - start} bytes, not {entry.size}")

    def finish(self) -> None:
        """All entries are here. Raises OSError."""
        self._out.flush()
        self._tree.finish()
        write_metadata(self._fd, self._tree, whole_blocks(self._out.end))
