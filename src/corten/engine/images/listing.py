"""Images as clients see them: the list, one's details, its manifests and history; nothing is changed. Daemon's loop.

Selection is in `filters`, the form of rows in `views`; manifests are read by a disk thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corten.engine.images import views
from corten.engine.images.catalog import ImageEntry
from corten.engine.images.filters import created_us, flag_filter, is_selected, until_s
from corten.engine.images.library import ImageLibrary
from corten.engine.images.manifests import ManifestLister
from corten.engine.images.removal import ContainerUse
from corten.lib import blocking
from corten.spec.docker import image as wire


class ImageListing:
    """Tells of the images of this engine; `containers` says which of them are in use."""

    def __init__(self, *, library: ImageLibrary, containers: ContainerUse) -> None:
        self._library = library
        self._containers = containers
        self._manifests = ManifestLister(library, containers)

    def count(self) -> int:
        """How many images there are."""
        return len(self._library.catalog)

    def usage(self) -> tuple[int, list[wire.ImageSummary]]:
        """What `system df` shows: the size of all unpacked layers, each counted once, and a row for each image."""
        layers = self._library.catalog.layer_sizes()
        return sum(layers.values()), self.summaries(show_all=True, shared_size=True, containers=True)

    def summaries(
        self,
        filters: Mapping[str, Sequence[str]] | None = None,
        *,
        show_all: bool = False,
        shared_size: bool = False,
        api: tuple[int, int] = views.NEWEST,
        containers: bool = False,
    ) -> list[wire.ImageSummary]:
        """The rows of `docker images`, newest first; `containers` counts the containers of each."""
        filters = filters or {}
        catalog = self._library.catalog
        dangling = flag_filter(filters, "dangling")
        times = {key: [catalog.lookup(t)[0] for t in filters.get(key, ())] for key in ("before", "since")}
        before = min((created_us(e.config.created) for e in times["before"]), default=0)
        since = max((created_us(e.config.created) for e in times["since"]), default=0)
        until = until_s(filters)
        patterns = list(filters.get("reference", ()))
        shared = views.shared_sizes(catalog) if shared_size else {}
        rows: list[wire.ImageSummary] = []
        for entry in catalog:
            if not is_selected(entry, filters, before=before, since=since, until=until):
                continue
            row = views.summary(
                entry,
                patterns=patterns,
                shared_size=shared.get(entry.id, -1),
                containers=len(self._containers.uses(entry.id)) if containers else -1,
                api=api,
            )
            if self._is_listed(entry, row, dangling=dangling, show_all=show_all, patterned=bool(patterns)):
                rows.append(row)
        return sorted(rows, key=lambda row: row.created, reverse=True)

    async def with_manifests(self, rows: Sequence[wire.ImageSummary]) -> None:
        """Let each row tell of the manifests that its image's names mean."""
        entries = {row.id: self._library.catalog.get(row.id) for row in rows}
        for row in rows:
            entry = entries[row.id]
            if entry is not None:
                views.add_manifests(row, await blocking.run(self._manifests.summaries, entry, entry.roots))

    def _is_listed(
        self, entry: ImageEntry, row: wire.ImageSummary, *, dangling: bool | None, show_all: bool, patterned: bool
    ) -> bool:
        tagged = any(tag != "<none>:<none>" for tag in row.repo_tags)
        named = tagged or any(digest != "<none>@<none>" for digest in row.repo_digests)
        if patterned and not named:
            return False
        if dangling is not None:
            is_dangling = not tagged and not self._library.catalog.children(entry.id)
            return is_dangling if dangling else tagged
        return named or show_all or not self._library.catalog.children(entry.id)

    def inspect(self, name: str, *, platform: str = "", api: tuple[int, int] = views.NEWEST) -> wire.ImageInspect:
        """Everything about one image. Raises ImageNotFound."""
        entry = self._library.catalog.provided(name, platform)
        _, found = self._library.catalog.lookup(name)
        target = entry.target(found) if found else entry.roots[0]
        return views.inspect(entry, target, driver=self._library.driver, api=api)

    async def inspect_manifests(self, name: str) -> list[wire.ManifestSummary]:
        """The manifests of what the name means. Raises ImageNotFound."""
        entry, found = self._library.catalog.lookup(name)
        return await blocking.run(self._manifests.summaries, entry, [entry.target(found)] if found else entry.roots)

    def history(self, name: str, *, platform: str = "") -> list[wire.HistoryItem]:
        """The steps that made the image. Raises ImageNotFound."""
        return views.history(self._library.catalog.provided(name, platform))
