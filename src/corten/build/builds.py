"""What the daemon knows of builds: the APIs that start them, and the cache. Daemon's loop."""

from __future__ import annotations

from dataclasses import dataclass

from corten.build.cache_upkeep import CacheUpkeep
from corten.build.classic import ClassicBuilds
from corten.build.local.builds import LocalBuilds
from corten.build.session.contexts import KeptContexts


@dataclass(frozen=True, slots=True, kw_only=True)
class Builds:
    """One a daemon."""

    classic: ClassicBuilds
    local: LocalBuilds
    cache: CacheUpkeep
    contexts: KeptContexts
