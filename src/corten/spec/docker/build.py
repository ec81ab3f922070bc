"""What the Docker API says of builds: records of the build cache, and what a prune has deleted. Pure data; daemon.

Source: the Docker Engine API, BuildCache and BuildPrune.
"""

from __future__ import annotations

import msgspec


class BuildCache(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """One record of the build cache. `shared`: an image has the layer, too."""

    id: str = msgspec.field(name="ID")
    parents: list[str] | None = None
    type: str = "regular"
    description: str = ""
    in_use: bool = False
    shared: bool = False
    size: int = 0
    created_at: str = ""
    last_used_at: str | None = None
    usage_count: int = 0


class BuildPruneReport(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """The answer of POST /build/prune."""

    caches_deleted: list[str] = []
    space_reclaimed: int = 0
