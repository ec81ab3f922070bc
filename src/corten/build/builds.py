"""What the daemon knows of builds: the APIs that start them, the cache, what they share to end a build. Daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from corten.build.cache_upkeep import CacheUpkeep
from corten.build.classic import ClassicBuilds
from corten.build.exporters.export import Exporters
from corten.build.finisher import Finisher
from corten.build.local.builds import LocalBuilds
from corten.build.session.contexts import KeptContexts

if TYPE_CHECKING:
    from corten.build.buildkit.service import BuildKit


@dataclass(frozen=True, slots=True, kw_only=True)
class Builds:
    """One a daemon."""

    classic: ClassicBuilds
    buildkit: BuildKit  # made at its first use
    local: LocalBuilds
    cache: CacheUpkeep
    exporters: Exporters
    finisher: Finisher
    contexts: KeptContexts
