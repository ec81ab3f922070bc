"""Whether a build context is somewhere else, from where the engine fetches it."""

from __future__ import annotations

import os

_STARTS = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")


def is_remote(source: str) -> bool:
    """Whether `source` is an address; a directory of that name goes before those without a scheme, as with Docker."""
    if not source.lower().startswith(_STARTS):
        return False
    return "://" in source or not os.path.isdir(source)
