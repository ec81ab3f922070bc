"""What comes into one build of other caches, and what of its own goes out. Daemon's loop.

A cache that cannot be read is a warning: the build goes on without it. One that cannot be written fails the build,
after its result is where it belongs, unless the request says that this is a warning, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from corten.build.caching.collecting import Collected
from corten.build.caching.directories import Directories
from corten.build.caching.exporting import CacheExporter, Cargo, Registries
from corten.build.caching.format import CacheContent, InlineImage, believable, decode_inline, encode_inline
from corten.build.caching.imports import Imports
from corten.build.caching.options import CacheExport, CacheImport
from corten.build.caching.pairs import LayerPairs
from corten.build.caching.reading import read_cache
from corten.build.face import Offers
from corten.build.lazy_layers import LazyLayers
from corten.build.outputs import Built
from corten.engine.images.artifact import Artifact
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.settled import settled
from corten.engine.images.sources import ImageSource
from corten.errors import CortenError, NotFound
from corten.lib import blocking, codec
from corten.lib.disk_full import words
from corten.registry.cancel import Cancel
from corten.registry.credentials import Credentials, known_as
from corten.registry.fetch import OnProgress, RawManifest, Sink
from corten.registry.session import OnRetry
from corten.spec.docker.progress import ProgressMessage, status, stream_line
from corten.spec.oci_image import CONFIG_LIMIT, OCI_CONFIG, Descriptor, Manifest
from corten.spec.platform import Platform, host_platform
from corten.spec.reference import Reference
from corten.store.leases import Lease

_ANSWER = "cache.manifest"


class Found(Registries, Protocol):
    """Registries that caches are looked for in, too (engine.images.artifact)."""

    async def find(self, reference: Reference, credentials: Credentials, progress: Progress) -> Artifact:
        """The document under a name."""

    def note(self, digests: Collection[str], reference: Reference) -> None:
        """These blobs are in that repository. Blocking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traveller:
    """One build, as far as its cache travels."""

    lazy: LazyLayers
    lease: Lease
    offers: Offers
    say: Callable[[ProgressMessage], None]
    directories: Directories

    def give_up(self, imports: Imports, error: Exception) -> None:
        """Go on without imported caches."""
        self.say(stream_line(f"[Warning] {error}; the build goes on without imported caches\n"))
        imports.clear()
        self.lazy.forget_imports()


class NothingElsewhere:
    """The source of what is here."""

    def __init__(self, cancel: Cancel) -> None:
        del cancel

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """None. Raises NotFound."""
        raise NotFound(f"{descriptor.digest} is not here any more")

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,  # noqa: ARG002 - the form of a source
        *,
        on_progress: OnProgress | None = None,  # noqa: ARG002
        on_retry: OnRetry | None = None,  # noqa: ARG002
    ) -> None:
        """None. Raises NotFound."""
        raise NotFound(f"{descriptor.digest} is not here any more")


def _nothing() -> asyncio.Future[Imports]:
    """What no caches have."""
    found: asyncio.Future[Imports] = asyncio.get_running_loop().create_future()
    found.set_result(Imports())
    return found


class CacheTravel:
    """Brings caches in and out; one a daemon."""

    def __init__(self, *, exporter: CacheExporter, registries: Callable[[], Found], library: ImageLibrary) -> None:
        self._exporter = exporter
        self._library = library
        self.pairs = LayerPairs(library)
        self._registries = registries

    @asynccontextmanager
    async def bringing(
        self, wanted: Sequence[CacheImport], traveller: Traveller
    ) -> AsyncIterator[asyncio.Future[Imports]]:
        """What the caches have, read beside the block, which awaits it; ended with the block."""
        if not wanted:
            yield _nothing()
            return
        work = asyncio.ensure_future(self._bring(wanted, traveller))
        try:
            yield work
        finally:
            work.cancel()
            await settled([work])

    async def _bring(self, wanted: Sequence[CacheImport], traveller: Traveller) -> Imports:
        """What the caches have, the first that has something counts; one that cannot be read is told of."""
        imports, platform = Imports(), host_platform()
        for one in wanted:
            traveller.say(status(f"Importing the build cache from {one.name}"))
            try:
                found, source = await self._read(one, platform, traveller)
                content = await blocking.run(believable, found, self._library.blob_size)
                checking = Progress()
                check = checking.cancel.check
                content = await run_cancellable(checking, "cpu", self.pairs.believable, content, check)
            except (CortenError, OSError) as error:
                traveller.say(status(f"Status: Nothing came from {one.name}"))
                traveller.say(stream_line(f"[Warning] importing the cache from {one.name} failed: {words(error)}\n"))
                continue
            traveller.say(status(f"Status: Imported the build cache from {one.name}"))
            if not content.steps and not content.mounts:
                traveller.say(stream_line(f"[Warning] {one.name} has no build cache of Corten's\n"))
            layers = [layer for step in content.steps for layer in step.filesystem.layers]
            layers += [mount.layer for mount in content.mounts]
            traveller.lazy.offer((layer.blob.digest for layer in layers), source)
            imports.add(content)
        return imports

    async def _read(
        self, one: CacheImport, platform: Platform, traveller: Traveller
    ) -> tuple[CacheContent, Callable[[Cancel], ImageSource]]:
        progress = Progress()
        if one.reference is None:
            top, opens = await traveller.directories.find(one, progress)
            opened = opens(progress.cancel)
            return await run_cancellable(progress, "stream", read_cache, opened, top, platform, one.name), opens
        credentials = await traveller.offers.credentials(known_as(one.reference.domain))
        try:
            found = await self._registries().find(one.reference, credentials, progress)
        except CortenError:
            carried = await blocking.run(self._carried, one.reference)
            if carried.steps:
                return carried, NothingElsewhere
            raise
        source = found.source(progress.cancel)
        content = await run_cancellable(progress, "net", read_cache, source, found.top, platform, one.name)
        blobs = {layer.blob.digest for step in content.steps for layer in step.filesystem.layers}
        await blocking.run(self._registries().note, blobs, one.reference)
        return content, found.source

    def _carried(self, reference: Reference) -> CacheContent:
        """What an image of this engine carries, which classic clients name, too. Blocking. Raises DataLoss."""
        entry = self._library.catalog.named(reference)
        if entry is None:
            return CacheContent()
        raw = self._library.read_blob(entry.id, CONFIG_LIMIT)
        manifest = Manifest(
            schema_version=2,
            config=Descriptor(media_type=OCI_CONFIG, digest=entry.id, size=len(raw)),
            layers=list(entry.layers),
        )
        return decode_inline(raw, manifest, entry.config)

    async def prepare(self, name: Reference, results: Sequence[Built], traveller: Traveller) -> None:
        """Have a result here of which the registry that it is pushed to lacks something.

        Raises RegistryError, DataLoss, OSError.
        """
        for built in results:
            elsewhere = traveller.lazy.missing(built.filesystem)
            if elsewhere:
                credentials = await traveller.offers.credentials(known_as(name.domain))
                if await self._registries().missing_at(name, credentials, elsewhere, Progress()):
                    await traveller.lazy.have(built.filesystem)

    async def carry(
        self, wanted: Sequence[CacheExport], solved: Sequence[tuple[Built, Collected]], traveller: Traveller
    ) -> dict[str, str]:
        """Carry the cache of a build, for all its platforms, to where it is wanted; what BuildKit's exporters answer.

        Raises CacheNotExported.
        """
        answer: dict[str, str] = {}
        for one in wanted:
            if one.kind == "inline":
                continue  # the image has it
            cargo = Cargo(
                steps=[
                    step
                    for built, found in solved
                    for step in (found.steps if one.everything else found.of_result(built.filesystem))
                ],
                mounts=list(dict.fromkeys(mount for _built, found in solved for mount in found.mounts)),
                lazy=traveller.lazy,
                lease=traveller.lease,
                offers=traveller.offers,
                directories=traveller.directories,
            )
            traveller.say(status(f"Exporting the build cache to {one.name}"))
            try:
                manifest = await self._exporter.export(one, cargo)
            except (CortenError, OSError) as error:
                text = f"exporting the cache to {one.name} failed: {words(error)}"
                if not one.ignore_error:
                    raise CacheNotExported(text) from error
                traveller.say(stream_line(f"[Warning] {text}\n"))
            else:
                traveller.say(status(f"Status: Exported the build cache to {one.name}"))
                answer[_ANSWER] = codec.encode(manifest).decode()
        return answer


class CacheNotExported(CortenError):
    """The build is done, and its cache could not be carried out."""

    code = "build-cache-not-exported"


def carrying_its_cache(built: Built, collected: Collected) -> Built:
    """The image with the records of its own steps, unless they are more than a configuration may hold."""
    cache = encode_inline(collected.of_result(built.filesystem), built.filesystem)
    if not cache or len(cache) > CONFIG_LIMIT // 2:
        return built
    fields = {name: getattr(built.image, name) for name in built.image.__struct_fields__}
    return replace(built, image=InlineImage(**{**fields, "cache": cache}))
