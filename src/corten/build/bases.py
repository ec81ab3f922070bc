"""The images that a Dockerfile names, found here or, where they are missing, at their registry. Daemon's loop.

Of an image that is not here manifest and configuration are fetched, and its layers when a step needs them: a build that
the cache has needs none. An image whose layers came has its name here from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from corten.build.caching.directories import Directories
from corten.build.caching.pairs import LayerPairs
from corten.build.dockerfile.contexts import LayoutName, layout_of
from corten.build.export import image_id
from corten.build.face import Offers
from corten.build.filesystem import FileSystem, Layer
from corten.build.given import Given, is_given
from corten.build.lazy_layers import Bringer, LazyLayers
from corten.build.plan import Base
from corten.engine.images.arrival import choose
from corten.engine.images.catalog import ImageEntry, ImageNotFound
from corten.engine.images.content_tree import grow
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.pull import RemoteImage
from corten.errors import DataLoss, InvalidArgument
from corten.lib import blocking
from corten.lib.keylock import KeyLock
from corten.registry.credentials import ANONYMOUS, Credentials, known_as
from corten.spec import platform as platforms
from corten.spec import reference as references
from corten.spec.oci_image import CONFIG_LIMIT, Descriptor
from corten.spec.platform import Platform
from corten.store.leases import Lease


class Puller(Bringer, Protocol):
    """Finds images and pulls them (TransferService)."""

    async def resolve(self, name: str, *, platform: str = "", credentials: Credentials = ANONYMOUS) -> RemoteImage:
        """What a registry has under a name, without its layers."""


class Bases:
    """The base images of one build: leased from when they were found, by id."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        puller: Puller,
        lazy: LazyLayers,
        lease: Lease,
        offers: Offers,
        always_pull: bool,
        directories: Directories,
        pairs: LayerPairs,
        given: Mapping[str, Given] | None = None,
    ) -> None:
        self._directories = directories
        self._pairs = pairs
        self._given = given or {}
        self._library = library
        self._puller = puller
        self._lazy = lazy
        self._lease = lease
        self._offers = offers
        self._always_pull = always_pull
        self._locks = KeyLock()
        self._found: dict[tuple[str, str], Base] = {}
        self._raw: dict[str, bytes] = {}  # configurations of images that are not here, by id
        self.filesystems: dict[str, FileSystem] = {}

    async def resolve(self, reference: str, platform: str) -> Base:
        """The image; its registry is asked where it is missing or the request says so, for an id only this engine.

        Raises ImageNotFound, RegistryError, InvalidReference.
        """
        if is_given(reference):
            return self._of_given(reference)
        asked = (reference, platform)
        async with self._locks.hold("\0".join(asked)):
            base = self._found.get(asked)
            layout = _layout_of(reference)
            if base is None and layout is not None:
                base = self._found[asked] = await self._of_layout(layout, reference, platform)
            if base is None:
                entry = None if self._always_pull else await self._here(reference, platform)
                base = self._of_entry(entry) if entry else await self._remote(reference, platform)
                self._found[asked] = base
            return base

    async def config(self, base: Base) -> bytes:
        """The configuration of an image that was found, as its bytes are. Raises NotFound, DataLoss."""
        if base.image_id in self._raw:
            return self._raw[base.image_id]
        return await blocking.run(self._library.read_blob, base.image_id, CONFIG_LIMIT)

    async def _here(self, reference: str, platform: str) -> ImageEntry | None:
        """The image of that name, or the one that its index has for the platform, if that is here."""
        try:
            entry, name = self._library.catalog.lookup(reference)
        except ImageNotFound:
            return None
        if not platform or _is_for(entry.config.platform, platform):
            return entry
        return await blocking.run(self._sibling, entry.target(name), platform)

    def _sibling(self, root: Descriptor, platform: str) -> ImageEntry | None:
        """Blocking."""
        for node in grow(root, self._library.read_document).manifests():
            found = None if node.is_attestation else self._library.catalog.get(node.image_id)
            if found is not None and _is_for(found.config.platform, platform):
                return found
        return None

    async def _remote(self, reference: str, platform: str) -> Base:
        name = references.parse(reference).with_default_tag()
        credentials = await self._offers.credentials(known_as(name.domain))
        image = await self._puller.resolve(name.familiar, platform=platform, credentials=credentials)
        if self._library.catalog.get(image.chosen.id) is not None:  # it may get a further name: that costs nothing
            await self._lazy.have_image(image)
            entry = self._library.catalog.get(image.chosen.id)
            if entry is None:
                raise ImageNotFound(f"No such image: {name.familiar}")
            return self._of_entry(entry)
        self._lazy.offer_image(image)
        chosen = image.chosen
        layers = zip(chosen.manifest.layers, chosen.image.diff_ids, strict=True)
        found = FileSystem(layers=tuple(Layer(blob=blob, diff_id=diff_id) for blob, diff_id in layers))
        self._lease.add(*found.keys())
        self.filesystems[chosen.id] = found
        self._raw[chosen.id] = chosen.config_raw
        return Base(image_id=chosen.id, image=chosen.image, digest=image.top.digest)

    async def _of_layout(self, layout: LayoutName, name: str, platform: str) -> Base:
        """An image of the client's; its layers come when a step reads them. Its documents come as fast as the client
        gives them, and no faster. Raises NotFound, DataLoss, GrpcError, OSError."""
        progress = Progress()
        top, source = await self._directories.image(layout, progress)
        wanted = platforms.parse(platform) if platform else platforms.host_platform()
        chosen = await run_cancellable(
            progress, "passed", choose, source(progress.cancel), top, wanted, given=name, explicit=bool(platform)
        )
        entry = self._library.catalog.get(chosen.id)
        if entry is not None:
            return self._of_entry(entry)
        layers = zip(chosen.manifest.layers, chosen.image.diff_ids, strict=True)
        found = FileSystem(layers=tuple(Layer(blob=blob, diff_id=diff_id) for blob, diff_id in layers))
        self._lease.add(*found.keys())
        if not await run_cancellable(progress, "cpu", self._pairs.are_true, found, progress.cancel.check):
            raise DataLoss(f"{name}: the layers of the image are not those that its configuration names")
        self._lazy.offer_layout(found, source, name)
        self.filesystems[chosen.id] = found
        self._raw[chosen.id] = chosen.config_raw
        return Base(image_id=chosen.id, image=chosen.image, digest=top.digest)

    def _of_given(self, reference: str) -> Base:
        given = self._given.get(reference)
        if given is None:
            raise ImageNotFound(
                "the build whose result a named context means is over, or was never one of this engine's"
            )
        self._lazy.offer_result(given)
        self._lease.add(*given.filesystem.keys())
        found = image_id(given.image)
        self.filesystems[found] = given.filesystem
        return Base(image_id=found, image=given.image)

    def _of_entry(self, entry: ImageEntry) -> Base:
        self._lease.add(*entry.blobs, *entry.chain)
        layers = zip(entry.layers, entry.config.diff_ids, entry.layer_sizes, strict=True)
        self.filesystems[entry.id] = FileSystem(
            layers=tuple(Layer(blob=blob, diff_id=diff_id, size=size) for blob, diff_id, size in layers)
        )
        return Base(image_id=entry.id, image=entry.config)


def _layout_of(reference: str) -> LayoutName | None:
    """As `layout_of`; clients may ask for any image. Raises InvalidArgument."""
    try:
        return layout_of(reference)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def _is_for(actual: Platform, wanted: str) -> bool:
    """Whether an image may be taken for a platform that was asked for: of its own architecture, unlike in `run`, for
    what is made of it bears the platform's name."""
    asked = platforms.parse(wanted)
    return actual.architecture == asked.architecture and platforms.matches(actual, asked)
