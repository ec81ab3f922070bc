"""`docker commit`: an image of a container's image and what the container has written. Daemon."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.live import Container
from corten.engine.containers.merge import merge_image
from corten.engine.containers.record import ContainerRecord
from corten.engine.containers.status import Status
from corten.engine.events import Events
from corten.engine.images.decompress import Readable
from corten.engine.images.service import tag_target
from corten.errors import Conflict, CortenError
from corten.lib import blocking, codec
from corten.spec.docker.container import ContainerConfig
from corten.spec.docker.hostconfig import str_slice
from corten.spec.oci_image import ImageConfig
from corten.store.pack import PackedLayer

_LOG = logging.getLogger("corten.containers")


class ContainerLookup(Protocol):
    """Containers by what a client calls them."""

    def find(self, reference: str) -> Container:
        """Raises NotFound."""


class Snapshots(Protocol):
    """The writable layers."""

    def upper_fd(self, key: str) -> int:
        """What the snapshot has written; the caller closes it."""


class Freezer(Protocol):
    """Pausing, for a consistent commit (ContainerService)."""

    async def pause(self, reference: str) -> None:
        """Stop its processes. Raises Conflict."""

    async def unpause(self, reference: str) -> None:
        """Let them go on. Raises Conflict."""


class Committer(Protocol):
    """Makes images (TransferService)."""

    async def commit(
        self,
        parent_id: str,
        open_layer: Callable[[], Readable],
        config: ImageConfig,
        *,
        repository: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        created_by: str = "",
        container: str = "",
    ) -> str:
        """An image of the parent's layers and one more; returns its id."""


class CommitService:
    """Images of containers."""

    def __init__(
        self,
        *,
        containers: ContainerLookup,
        snapshots: Snapshots,
        freezer: Freezer,
        images: Committer,
        events: Events,
    ) -> None:
        self._containers = containers
        self._snapshots = snapshots
        self._freezer = freezer
        self._images = images
        self._events = events

    async def commit(
        self,
        reference: str,
        *,
        repository: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        config: ContainerConfig | None = None,
        change: Callable[[ImageConfig], ImageConfig] | None = None,
        pause: bool = True,
    ) -> str:
        """An image of the container as it is now; returns the id. Raises NotFound, InvalidArgument.

        `config`, and what `change` makes of it, win over the container's configuration.
        """
        container = self._containers.find(reference)
        record = container.record
        name = tag_target(repository, tag).familiar if repository else ""
        merged = merged_config(record.config, config, change)
        layers: list[PackedLayer] = []

        def open_layer() -> PackedLayer:
            layers.append(PackedLayer(self._snapshots.upper_fd(container.id)))
            return layers[-1]

        try:
            async with self._frozen(record, wanted=pause):
                image = await self._images.commit(
                    record.image_id,
                    open_layer,
                    merged,
                    repository=repository,
                    tag=tag,
                    author=author,
                    comment=comment,
                    created_by=" ".join(str_slice(record.config.cmd) or []),
                    container=container.id,
                )
        finally:
            for layer in layers:
                await blocking.run(layer.close)
        announce(self._events, record, "commit", comment=comment, imageID=image, imageRef=name)
        return image

    @asynccontextmanager
    async def _frozen(self, record: ContainerRecord, *, wanted: bool) -> AsyncIterator[None]:
        """Pause a running container for the block. That it ends before or meanwhile is no error."""
        frozen = wanted and record.status.status is Status.RUNNING
        if frozen:
            try:
                await self._freezer.pause(record.id)
            except Conflict:
                frozen = False
        try:
            yield
        finally:
            if frozen:
                try:
                    await self._freezer.unpause(record.id)
                except CortenError as error:
                    _LOG.info("not unpaused after commit", extra={"container": record.id, "error": str(error)})


def merged_config(
    own: ContainerConfig, config: ContainerConfig | None, change: Callable[[ImageConfig], ImageConfig] | None
) -> ImageConfig:
    """What the image keeps: what the request says, and the container's configuration below it."""
    asked = image_config(config or ContainerConfig())
    asked = change(asked) if change else asked
    merged = codec.from_plain(ContainerConfig, codec.to_plain(asked))
    merge_image(merged, image_config(own))
    return image_config(merged)


def image_config(config: ContainerConfig) -> ImageConfig:
    """What an image can keep of a container's configuration."""
    plain = codec.to_plain(config)
    names = {field.encode_name for field in msgspec.structs.fields(ImageConfig)}
    kept = {key: value for key, value in plain.items() if key in names and value not in (None, "", [], {})}
    for key in ("Cmd", "Entrypoint", "Shell"):
        if isinstance(kept.get(key), str):
            kept[key] = [kept[key]]
    return codec.from_plain(ImageConfig, kept)
