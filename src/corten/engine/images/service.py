"""What is done with images that are here: tag, remove, prune, resolve. Daemon's loop.

Decisions are in `removal` and `filters`; this service joins them to the library and tells of events. How images are
shown is `listing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from corten.engine.events import Events
from corten.engine.images import views
from corten.engine.images.catalog import ImageEntry, ImageNotFound, ResolvedImage
from corten.engine.images.filters import created_us, flag_filter, is_selected, until_s
from corten.engine.images.library import ImageLibrary
from corten.engine.images.platform_removal import plan_platform_removal
from corten.engine.images.removal import ContainerUse, MountUse, Removal, Use, plan_removal
from corten.lib import blocking
from corten.spec import platform as platforms
from corten.spec import reference as references
from corten.spec.docker import image as wire
from corten.spec.reference import InvalidReference, Reference

__all__ = ["ImageNotFound", "ImageService", "ResolvedImage"]


class ImageService:
    """The images of this engine; `containers` says which of them are in use, and may be set later by the wiring."""

    def __init__(self, *, library: ImageLibrary, events: Events, containers: ContainerUse) -> None:
        self._library = library
        self._events = events
        self._containers = containers
        self.mounts: MountUse | None = None  # set by the wiring

    def resolve(self, reference: str, *, platform: str = "") -> ResolvedImage:
        """The image with this name, id or unique beginning of an id; from memory.

        Raises ImageNotFound, also for an image that is here for another platform only.
        """
        if platform:
            self._library.catalog.provided(reference, platform)
        return self._library.catalog.resolve(reference)

    async def tag(self, name: str, repository: str, tag: str = "") -> None:
        """Give the image another name. Raises ImageNotFound, InvalidReference."""
        entry, found = self._library.catalog.lookup(name)
        target = tag_target(repository, tag)
        await self._library.name(entry.id, [str(target)], entry.target(found))
        self._publish("tag", entry, target.familiar)

    async def remove(self, name: str, *, force: bool = False, prune: bool = True) -> list[wire.DeleteItem]:
        """Untag or delete by Docker's rules. Raises ImageNotFound, ImageInUse."""
        entry, found = self._library.catalog.lookup(name)
        plan = plan_removal(
            entry,
            found,
            name,
            uses=self._uses(entry.id),
            mounted=self._mounted(entry.id),
            has_children=bool(self._library.catalog.children(entry.id)),
            force=force,
        )
        items = await self._carry_out(entry, plan)
        if plan.delete and prune and entry.parent:
            items += await self._remove_parents(entry.parent)
        return items

    async def remove_platforms(
        self, name: str, wanted: Sequence[str], *, force: bool = False, prune: bool = True
    ) -> list[wire.DeleteItem]:
        """Take the content of some platforms away; with the last one the name goes, as by `remove`.

        Raises ImageNotFound, ImageInUse.
        """
        entry, found = self._library.catalog.lookup(name)
        root = entry.target(found) if found else entry.roots[0]
        parsed = [platforms.parse(text) for text in wanted]
        plan = await blocking.run(plan_platform_removal, self._library, entry, root, name, parsed)
        if plan.whole:
            return await self.remove(name, force=force, prune=prune)
        await self._library.drop_extra(entry.id, plan.blobs)
        for _ in plan.manifests:
            self._publish("delete", entry, entry.id)
        return [wire.DeleteItem(deleted=digest) for digest in plan.manifests]

    async def reap(self) -> None:
        """After a container is gone: delete what was kept for it alone. Costs nothing when there is nothing."""
        await self._library.reap()

    async def prune(self, filters: Mapping[str, Sequence[str]] | None = None) -> wire.PruneReport:
        """Delete what is not tagged (`dangling=false`: not used by any container). Never fails for one image."""
        filters = filters or {}
        only_dangling = flag_filter(filters, "dangling") is not False
        until = until_s(filters, only_one=True)
        await self.reap()
        before = self._library.stored_bytes()
        items: list[wire.DeleteItem] = []
        for entry in sorted(self._library.catalog, key=lambda e: created_us(e.config.created), reverse=True):
            current = self._library.catalog.get(entry.id)
            if current is None or self._is_held(entry.id):
                continue
            tagged = bool(current.repo_tags())
            if (only_dangling and tagged) or not is_selected(current, filters, until=until):
                continue
            items += await self._carry_out(current, Removal(tuple(current.names()), delete=True))
        reclaimed = max(before - self._library.stored_bytes(), 0)
        self._events.publish("image", "prune", "", {"reclaimed": str(reclaimed)})
        return wire.PruneReport(images_deleted=items or None, space_reclaimed=reclaimed)

    def unused(self) -> list[tuple[ImageEntry, int]]:
        """Images that nothing holds (see `_is_held`), with the bytes that are theirs alone."""
        catalog = self._library.catalog
        shared = views.shared_sizes(catalog)
        users = Counter(digest for entry in catalog for digest in {layer.digest for layer in entry.layers})
        found = []
        for entry in catalog:
            if not self._is_held(entry.id):
                blobs = {layer.digest: layer.size for layer in entry.layers if users[layer.digest] == 1}
                unpacked = max(entry.unpacked_size - shared.get(entry.id, 0), 0)
                found.append((entry, unpacked + sum(blobs.values())))
        return found

    async def discard(self, image_id: str) -> list[wire.DeleteItem]:
        """Delete an image with its names, unless something uses it by now."""
        entry = self._library.catalog.get(image_id)
        if entry is None or self._is_held(image_id):
            return []
        return await self._carry_out(entry, Removal(tuple(entry.names()), delete=True))

    async def _remove_parents(self, image_id: str) -> list[wire.DeleteItem]:
        items: list[wire.DeleteItem] = []
        while image_id:
            entry = self._library.catalog.get(image_id)
            if entry is None or entry.references or self._is_held(image_id):
                break
            items += await self._carry_out(entry, Removal((), delete=True))
            image_id = entry.parent
        return items

    async def _carry_out(self, entry: ImageEntry, plan: Removal) -> list[wire.DeleteItem]:
        items = []
        if plan.delete:
            layers = await self._library.delete(entry.id)
        else:
            await self._library.unname(entry.id, [str(name) for name in plan.untag])
            layers = []
        for name in plan.untag:
            items.append(wire.DeleteItem(untagged=name.familiar))
            self._publish("untag", entry, entry.id)
        if plan.delete:
            self._publish("delete", entry, entry.id)
            items += [wire.DeleteItem(deleted=gone) for gone in (entry.id, *layers)]
        return items

    def _uses(self, image_id: str) -> list[Use]:
        return [Use(*use) for use in self._containers.uses(image_id)]

    def _is_held(self, image_id: str) -> bool:
        """Whether a container, a mount or an image that was built on it stands on the image."""
        return bool(self._uses(image_id) or self._mounted(image_id) or self._library.catalog.children(image_id))

    def _mounted(self, image_id: str) -> Sequence[str]:
        return self.mounts.of(image_id) if self.mounts is not None else ()

    def _publish(self, action: str, entry: ImageEntry, name: str) -> None:
        self._events.publish("image", action, entry.id, {**(entry.config.defaults.labels or {}), "name": name})


def tag_target(repository: str, tag: str = "") -> Reference:
    """The name to give: `repository` with `tag`, its own tag, or latest. Raises InvalidReference."""
    name = references.parse(repository)
    if name.digest is not None:
        raise InvalidReference("refusing to create a tag with a digest reference")
    if name.familiar_name == "sha256":
        raise InvalidReference("refusing to create an ambiguous tag using digest algorithm as name")
    return name.with_tag(tag) if tag else name.with_default_tag()
