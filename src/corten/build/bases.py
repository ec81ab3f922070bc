"""The images that a Dockerfile names, found here or, where they are missing, pulled. Daemon's loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from corten.build.face import Offers
from corten.build.filesystem import FileSystem, Layer
from corten.build.plan import Base
from corten.engine.images.catalog import ImageEntry, ImageNotFound
from corten.engine.images.content_tree import grow
from corten.engine.images.library import ImageLibrary
from corten.lib import blocking
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.spec import platform as platforms
from corten.spec import reference as references
from corten.spec.docker.progress import ProgressMessage
from corten.spec.oci_image import Descriptor
from corten.spec.platform import Platform
from corten.spec.reference import DEFAULT_DOMAIN, Reference
from corten.store.leases import Lease

_DOCKER_HUB = "https://index.docker.io/v1/"


class Puller(Protocol):
    """Pulls (TransferService)."""

    def pull(
        self, name: str, tag: str = "", *, platform: str = "", credentials: Credentials = ANONYMOUS
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Pull `name`, telling of it."""


class Bases:
    """The base images of one build: leased from when they were found, by id."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        puller: Puller,
        lease: Lease,
        offers: Offers,
        always_pull: bool,
        say: Callable[[ProgressMessage], None],
    ) -> None:
        self._library = library
        self._puller = puller
        self._lease = lease
        self._offers = offers
        self._always_pull = always_pull
        self._say = say
        self._pulled: set[tuple[str, str]] = set()
        self.filesystems: dict[str, FileSystem] = {}

    async def resolve(self, reference: str, platform: str) -> Base:
        """The image, pulled first where it is missing or the request says so; an id is looked for here alone.

        Raises ImageNotFound, RegistryError, InvalidReference.
        """
        asked = (reference, platform)
        entry = None if self._always_pull and asked not in self._pulled else await self._here(reference, platform)
        if entry is None:
            name = references.parse(reference).with_default_tag()
            await self._pull(name, platform)
            self._pulled.add(asked)
            entry = await self._here(reference, platform)
            if entry is None:
                raise ImageNotFound(f"No such image: {name.familiar}")
        self._lease.add(*entry.blobs, *entry.chain)
        layers = zip(entry.layers, entry.config.diff_ids, entry.layer_sizes, strict=True)
        self.filesystems[entry.id] = FileSystem(
            layers=tuple(Layer(blob=blob, diff_id=diff_id, size=size) for blob, diff_id, size in layers)
        )
        return Base(image_id=entry.id, image=entry.config)

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

    async def _pull(self, name: Reference, platform: str) -> None:
        credentials = await self._offers.credentials(_hosts(name))
        messages = self._puller.pull(name.familiar, platform=platform, credentials=credentials)
        try:
            async for message in messages:
                self._say(message)
        finally:
            await messages.aclose()


def _is_for(actual: Platform, wanted: str) -> bool:
    """Whether an image may be taken for a platform that was asked for: of its own architecture, unlike in `run`, for
    what is made of it bears the platform's name."""
    asked = platforms.parse(wanted)
    return actual.architecture == asked.architecture and platforms.matches(actual, asked)


def _hosts(name: Reference) -> list[str]:
    """How clients may call an image's registry when they send credentials for it."""
    hub = [_DOCKER_HUB] if name.domain == DEFAULT_DOMAIN else []
    return [name.domain, f"https://{name.domain}", *hub]
