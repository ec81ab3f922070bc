"""Which received contexts a prune takes, and how they are shown beside the cache's records. Pure; daemon."""

from __future__ import annotations

from collections.abc import Mapping

from corten.build.cache_pruning import Wish, is_selected
from corten.build.export import time_text
from corten.build.session.contexts import oldest_above
from corten.build.session.kept import About
from corten.spec.docker.build import BuildCache

TYPE = "source.local"


def contexts_to_prune(abouts: Mapping[str, About], wish: Wish, kept_bytes: int) -> list[str]:
    """The ids to delete; `kept_bytes` of what may stay is taken by records. Raises InvalidArgument for a bad filter."""
    wanted = {
        one: about
        for one, about in abouts.items()
        if (wish.before_ns is None or about.used_ns < wish.before_ns)
        and is_selected({"id": one, "description": about.name, "type": TYPE}, wish.filters, is_shared=False)
    }
    if not wish.keep_bytes:
        return list(wanted)
    return oldest_above(wanted, max(wish.keep_bytes - kept_bytes, 0))


def context_rows(abouts: Mapping[str, About]) -> list[BuildCache]:
    """As `docker system df` shows them, last used first."""
    return [
        BuildCache(
            id=one,
            type=TYPE,
            description=about.name,
            size=about.size,
            created_at=time_text(about.created_ns),
            last_used_at=time_text(about.used_ns),
            usage_count=about.uses,
        )
        for one, about in sorted(abouts.items(), key=lambda item: item[1].used_ns, reverse=True)
    ]
