"""Archives that ADD unpacks: a file of a tree as a tree of its own, if it is a tar. Daemon; blocking.

Whether it is one is told by its bytes, as Docker does; it is decompressed in this process into a nameless file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from corten.build.trees.tar import TarTree
from corten.build.trees.tree import Tree
from corten.engine.images.decompress import TarStream
from corten.errors import CortenError
from corten.lib.tar import TarReader

_CHUNK = 1 << 20
_START = 4 << 20  # no first header is longer (lib.tar)


class _Chunks:
    """An iterator of bytes to be read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        data = self._rest or next(self._chunks, b"")
        if 0 <= size < len(data):
            self._rest = data[size:]
            return data[:size]
        self._rest = b""
        return data


class _Start:
    """The first bytes of a stream, as if it ended there: zeros that expand without end are no archive."""

    def __init__(self, stream: TarStream) -> None:
        self._stream = stream
        self._left = _START

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def is_archive(tree: Tree, path: str) -> bool:
    """Whether a file is a tar, compressed or not."""
    try:
        next(iter(TarReader(_Start(TarStream(_Chunks(tree.chunks(path)))))))
    except (CortenError, StopIteration):
        return False
    return True


def open_archive(
    tree: Tree, path: str, new_file: Callable[[], BinaryIO], check: Callable[[], None] = lambda: None
) -> TarTree:
    """The archive's tree, to be closed by the caller. `check` is called now and then, and may raise.

    Raises InvalidTar, DataLoss, OSError.
    """
    stream = TarStream(_Chunks(tree.chunks(path)))
    file = new_file()
    try:
        while chunk := stream.read(_CHUNK):
            check()
            file.write(chunk)
        file.flush()
        return TarTree(file, check=check)
    except BaseException:
        file.close()
        raise
