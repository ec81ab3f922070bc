"""List and inspect containers. Daemon; reads memory only, but for the sizes of layers."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import UNSET

from corten.engine.containers import summary
from corten.engine.containers.collaborators import Images, Snapshots
from corten.engine.containers.filters import Filters, Lookups, check_filters, select, shows_stopped
from corten.engine.containers.links import shown_links
from corten.engine.containers.live import Container
from corten.engine.containers.netfiles import NetworkFileWriter
from corten.engine.containers.oci_spec import NetworkFiles
from corten.engine.containers.registry import Registry
from corten.engine.containers.settings import ContainerSettings
from corten.errors import CortenError
from corten.lib import blocking
from corten.spec.docker import container as wire


class Lister:
    """The use cases of GET /containers/json and GET /containers/{id}/json."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        images: Images,
        snapshots: Snapshots,
        files: NetworkFileWriter,
        image_size: Callable[[str], int],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._images = images
        self._snapshots = snapshots
        self._files = files
        self._image_size = image_size

    async def list_(
        self, *, all_: bool = False, limit: int = 0, size: bool = False, filters: Filters | None = None
    ) -> list[wire.ContainerSummary]:
        """Newest first. Raises InvalidArgument, NotFound."""
        filters = filters or {}
        check_filters(filters)
        found = sorted(self._registry, key=lambda container: container.record.created_ns, reverse=True)
        if not (all_ or limit > 0 or shows_stopped(filters)):
            found = [container for container in found if container.record.status.status.is_running]
        found = select(found, filters, Lookups(find=self._registry.find, image_id=self._image_id))
        if limit > 0:
            found = found[:limit]
        now_ns = time.time_ns()
        rows = [summary.summary(container, image=self._image_name(container), now_ns=now_ns) for container in found]
        if size:
            for row, container in zip(rows, found, strict=True):
                row.size_rw, row.size_root_fs = await self._sizes(container)
        return rows

    async def inspect(self, reference: str, *, size: bool = False) -> wire.ContainerInspect:
        """Raises NotFound."""
        container = self._registry.find(reference)
        files = self._paths(container)
        shown = summary.inspect(
            container,
            files=files,
            driver=self._settings.storage_driver,
            links=shown_links(container, self._registry.find),
        )
        if size:
            shown.size_rw, shown.size_root_fs = await self._sizes(container)
        else:
            shown.size_rw = shown.size_root_fs = UNSET
        return shown

    def _paths(self, container: Container) -> NetworkFiles:
        try:
            return self._files.paths(container)
        except CortenError:  # the container whose network it shares is gone
            return NetworkFiles()

    async def _sizes(self, container: Container) -> tuple[int, int]:
        """(writable layer, whole root file system)."""
        try:
            used = await blocking.run(self._snapshots.usage, container.id)
        except (CortenError, OSError):
            used = 0
        return used, used + self._image_size(container.record.image_id)

    def _image_id(self, reference: str) -> str:
        try:
            return self._images.resolve(reference).id
        except CortenError:
            return ""

    def _image_name(self, container: Container) -> str:
        """The name it was created by while that still means this image, else the id."""
        record = container.record
        found = self._image_id(record.config.image)
        return record.config.image if found == record.image_id else record.image_id
