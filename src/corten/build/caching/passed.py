"""Directories for caches that a client on the same machine has passed as descriptors. Blocking; threads.

They come among a build's contexts, called `cache:` and the path that `src` or `dest` of a cache says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from corten.errors import InvalidArgument

_PREFIX = "cache:"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class PassedDirectories:
    """Opens them by the client's paths (`travel.Directories`); the descriptors are somebody else's to close."""

    def __init__(self, descriptors: Mapping[str, int]) -> None:
        self._descriptors = dict(descriptors)

    def open(self, path: str, *, create: bool) -> int:  # noqa: ARG002 - a client makes what it passes
        """A descriptor of its own. Raises InvalidArgument for a directory that was not passed, OSError."""
        passed = self._descriptors.get(path)
        if passed is None:
            raise InvalidArgument(f"the cache in the directory {path} cannot be reached over this connection")
        return os.open(".", _DIRECTORY, dir_fd=passed)


def split_passed(contexts: Mapping[str, int]) -> tuple[dict[str, int], PassedDirectories]:
    """The contexts among what was passed, and the directories for caches."""
    caches = {name.removeprefix(_PREFIX): fd for name, fd in contexts.items() if name.startswith(_PREFIX)}
    others = {name: fd for name, fd in contexts.items() if not name.startswith(_PREFIX)}
    return others, PassedDirectories(caches)
