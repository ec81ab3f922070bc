"""Layers that a build knows of and does not have: brought when a step reads their file system. Daemon's loop.

Base images are found with their documents alone, and what an imported cache has lies where it came from. Whoever is
about to read a file system calls `have` first. One object a build; two steps that want the same layers fetch them once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corten.build.filesystem import FileSystem
from corten.build.given import Given
from corten.engine.images.pull import RemoteImage
from corten.engine.images.sources import ImageSource, SourceOf
from corten.errors import CortenError, DataLoss
from corten.lib.keylock import KeyLock
from corten.registry.cancel import Cancel
from corten.registry.fetch import OnProgress, RawManifest, Sink
from corten.registry.session import OnRetry
from corten.spec.docker.progress import ProgressMessage, status
from corten.spec.oci_image import Descriptor
from corten.store.gc import Node

_IMPORTED = "the imported cache"
Messages = AsyncGenerator[ProgressMessage, None]


class Bringer(Protocol):
    """Fetches (TransferService)."""

    def bring(self, image: RemoteImage) -> Messages:
        """Pull an image that was found, telling of it."""

    def bring_layers(self, layers: Sequence[Descriptor], diff_ids: Sequence[str], source: SourceOf) -> Messages:
        """Have layers here, which are leased."""


class ImportLost(CortenError):
    """What an imported cache has promised cannot be fetched, or is not what it said; the build can do without it."""

    code = "build-cache-import-lost"


@dataclass(slots=True)
class _Origins:
    """Where blobs are, by digest; the first that offers one is asked."""

    sources: dict[str, SourceOf] = field(default_factory=dict)

    def open(self, cancel: Cancel) -> ImageSource:
        return _OriginSource(self.sources, cancel)


class LazyLayers:
    """What is missing, and where it is. `is_here` looks into the store; `say` tells the build's client."""

    def __init__(
        self, *, bringer: Bringer, is_here: Callable[[Node], bool], say: Callable[[ProgressMessage], None]
    ) -> None:
        self._bringer = bringer
        self._is_here = is_here
        self._say = say
        self._images: list[RemoteImage] = []
        self._layouts: list[tuple[FileSystem, SourceOf, str]] = []
        self._results: list[Given] = []
        self._origins = _Origins()
        self._locks = KeyLock()

    def offer_image(self, image: RemoteImage) -> None:
        """A base image that was found; it is an image here, with its name, when its layers have come."""
        self._images.append(image)

    def offer_layout(self, filesystem: FileSystem, source: SourceOf, name: str) -> None:
        """A base image of a layout of the client's; it gets no name here."""
        self._layouts.append((filesystem, source, name))

    def offer_result(self, given: Given) -> None:
        """Another build's result, which that build can bring."""
        self._results.append(given)

    def offer(self, digests: Iterable[str], source: SourceOf) -> None:
        """Blobs of an imported cache."""
        for digest in digests:
            self._origins.sources.setdefault(digest, source)

    def forget_imports(self) -> None:
        """Fetch nothing from imported caches any more."""
        self._origins = _Origins()

    def is_complete(self, filesystem: FileSystem) -> bool:
        """Whether all of a file system is here."""
        return all(map(self._is_here, filesystem.nodes()))

    def missing(self, filesystem: FileSystem) -> list[Descriptor]:
        """The blobs of a file system that are not here."""
        blobs = (layer.blob for layer in filesystem.layers)
        return [blob for blob in blobs if not self._is_here(Node("blob", blob.digest))]

    async def have(self, filesystem: FileSystem | None) -> None:
        """Bring what is missing of a file system, which the caller has leased.

        Raises RegistryError, DataLoss, OSError; ImportLost when it should have come from an imported cache.
        """
        if filesystem is None or self.is_complete(filesystem):
            return
        async with self._locks.hold(filesystem.layers[0].diff_id):  # what stands on one layer comes one by one
            await self._have_images(filesystem)
            await self._have_layouts(filesystem)
            await self._have_results(filesystem)
            if self.is_complete(filesystem):
                return
            blobs = [layer.blob for layer in filesystem.layers]
            diff_ids = [layer.diff_id for layer in filesystem.layers]
            lost = [blob.digest for blob in self.missing(filesystem) if blob.digest not in self._origins.sources]
            if lost:
                raise DataLoss(f"layer {lost[0]} is not here any more", hint="build again, with --pull or --no-cache")
            try:
                self._say(status(f"Pulling from {_IMPORTED}"))
                await self._tell(self._bringer.bring_layers(blobs, diff_ids, self._origins.open))
                self._say(status(f"Status: Downloaded layers of {_IMPORTED}"))
            except CortenError as error:
                self._say(status(f"Status: Nothing more comes of {_IMPORTED}"))
                raise ImportLost(f"a layer of the imported cache cannot be had: {error}") from error

    async def have_image(self, image: RemoteImage) -> None:
        """Bring an image that was found. Raises RegistryError, DataLoss, OSError."""
        await self._tell(self._bringer.bring(image))

    async def _have_images(self, filesystem: FileSystem) -> None:
        """Bring the base images that the file system stands on, whole."""
        diff_ids = [layer.diff_id for layer in filesystem.layers]
        for image in list(self._images):
            own = image.chosen.image.diff_ids
            if own and own == diff_ids[: len(own)]:
                await self.have_image(image)
                self._images.remove(image)

    async def _have_layouts(self, filesystem: FileSystem) -> None:
        """Bring the images of layouts that the file system stands on."""
        diff_ids = [layer.diff_id for layer in filesystem.layers]
        for found, source, name in self._layouts:
            own = [layer.diff_id for layer in found.layers]
            if own and own == diff_ids[: len(own)] and not self.is_complete(found):
                self._say(status(f"Reading {name}"))
                await self._tell(self._bringer.bring_layers([layer.blob for layer in found.layers], own, source))

    async def _have_results(self, filesystem: FileSystem) -> None:
        """Bring the results of other builds that the file system stands on."""
        diff_ids = [layer.diff_id for layer in filesystem.layers]
        for given in self._results:
            own = [layer.diff_id for layer in given.filesystem.layers]
            if own and own == diff_ids[: len(own)] and not self.is_complete(given.filesystem):
                await given.have(given.filesystem)

    async def _tell(self, messages: Messages) -> None:
        try:
            async for message in messages:
                self._say(message)
        finally:
            await messages.aclose()


class _OriginSource:
    """Gives each blob from where it is."""

    def __init__(self, sources: dict[str, SourceOf], cancel: Cancel) -> None:
        self._sources = sources
        self._cancel = cancel
        self._open: dict[SourceOf, ImageSource] = {}

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """No documents are asked for here."""
        raise DataLoss(f"{descriptor.digest} is no layer")

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        """Append what `sink` lacks. Raises what the source raises."""
        opens = self._sources.get(descriptor.digest)
        if opens is None:
            raise DataLoss(f"nobody has {descriptor.digest}")
        source = self._open.setdefault(opens, opens(self._cancel)) if opens not in self._open else self._open[opens]
        source.blob(descriptor, sink, on_progress=on_progress, on_retry=on_retry)
