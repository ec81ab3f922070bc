"""What the daemon knows of builds: the APIs that start them, the cache, what they share to end a build. Daemon."""

from __future__ import annotations

from dataclasses import dataclass

from corten.build.cache_upkeep import CacheUpkeep
from corten.build.classic import ClassicBuilds
from corten.build.exporters.export import Exporters
from corten.build.finisher import Finisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Builds:
    """One a daemon."""

    classic: ClassicBuilds
    cache: CacheUpkeep
    exporters: Exporters
    finisher: Finisher
