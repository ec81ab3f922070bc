"""Files that a Dockerfile itself holds, as a tree of one directory. Daemon; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from corten.build.trees.tree import Node


class InlineTree:
    """Root's files by name, with one mode and time for all."""

    def __init__(self, files: Sequence[tuple[str, bytes]], mode: int, mtime_ns: int) -> None:
        self._files = dict(files)
        self._mode = mode
        self._mtime_ns = mtime_ns

    def lstat(self, path: str) -> Node | None:
        """A file, or the root."""
        if not path:
            return Node("directory", 0o755, 0, 0, 0, self._mtime_ns)
        data = self._files.get(path)
        return None if data is None else Node("file", self._mode, 0, 0, len(data), self._mtime_ns)

    def names(self, path: str) -> list[str]:  # noqa: ARG002 - there is one directory
        """All files."""
        return sorted(self._files)

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes."""
        yield self._files[path]

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:  # noqa: ARG002 - none have any
        """None."""
        return {}

    def digest(self, path: str) -> str:
        """SHA-256."""
        return hashlib.sha256(self._files[path]).hexdigest()
