"""Carries a build's cache out: blobs that a registry or a directory lacks, then the document that names them.

Layers go compressed, as images' do, so that a blob which the image's repository has is taken over from there; what is
not here and is there already is not fetched for it. Daemon's loop; net, cpu and disk threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import msgspec

from corten.build.cache_mounts import CacheMounts, name_of
from corten.build.caching.directories import Directories
from corten.build.caching.format import (
    CACHE_CONFIG,
    LAYERS_LIMIT,
    CacheContent,
    CacheMountRecord,
    Step,
    encode_config,
)
from corten.build.caching.options import CacheExport
from corten.build.caching.packing import pack
from corten.build.exporters.layers import LayerForms
from corten.build.exporters.request import Compression
from corten.build.face import Offers
from corten.build.filesystem import FileSystem, Layer
from corten.build.lazy_layers import LazyLayers
from corten.build.operations import Mount
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.errors import InvalidArgument
from corten.lib import blocking, codec
from corten.registry.credentials import Credentials, known_as
from corten.spec.digest import digest_of
from corten.spec.oci_image import OCI_MANIFEST, Descriptor, Manifest
from corten.spec.reference import Reference
from corten.store.leases import Lease


class Registries(Protocol):
    """Where caches are pushed (engine.images.artifact)."""

    async def missing_at(
        self, reference: Reference, credentials: Credentials, blobs: Sequence[Descriptor], progress: Progress
    ) -> list[Descriptor]:
        """Which blobs the repository does not have."""

    async def push(
        self,
        reference: Reference,
        credentials: Credentials,
        *,
        blobs: Sequence[Descriptor],
        manifest: bytes,
        media_type: str,
        progress: Progress,
    ) -> None:
        """Send blobs, and the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """What one build has for a cache, and what it needs while it is carried out. `directories` are the client's."""

    steps: Sequence[Step]
    mounts: Sequence[Mount]
    lazy: LazyLayers
    lease: Lease
    offers: Offers
    directories: Directories


class CacheExporter:
    """One a daemon."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        forms: LayerForms,
        registries: Callable[[], Registries],
        caches: CacheMounts,
    ) -> None:
        self._library = library
        self._forms = forms
        self._registries = registries
        self._caches = caches

    async def export(self, wanted: CacheExport, cargo: Cargo) -> Descriptor:
        """Carry it out; the manifest. Raises RegistryError, DataLoss, InvalidArgument, OSError."""
        progress = Progress()
        packed: dict[tuple[str, ...], Layer] = {}
        steps = tuple([await self._packed(step, packed, cargo, progress) for step in cargo.steps])
        mounts = [await self._mount(mount, cargo, progress) for mount in cargo.mounts] if wanted.mounts else []
        content = CacheContent(steps=steps, mounts=tuple({m.name: m for m in mounts if m is not None}.values()))
        raw, blobs = await blocking.run(encode_config, content, pool="cpu")
        if len(blobs) > LAYERS_LIMIT:
            raise InvalidArgument(f"the cache has more than {LAYERS_LIMIT} layers; export it with mode=min")
        config = Descriptor(media_type=CACHE_CONFIG, digest=digest_of(raw), size=len(raw))
        manifest = codec.encode(Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=blobs))
        cargo.lease.add(config.digest)
        await blocking.run(self._library.put_blob, raw)
        if wanted.reference is not None:
            await self._push(wanted.reference, [*blobs, config], manifest, cargo, steps, progress)
        else:
            await self._write(wanted, [*blobs, config], manifest, cargo, steps, progress)
        return Descriptor(media_type=OCI_MANIFEST, digest=digest_of(manifest), size=len(manifest))

    async def _push(
        self,
        reference: Reference,
        blobs: Sequence[Descriptor],
        manifest: bytes,
        cargo: Cargo,
        steps: Sequence[Step],
        progress: Progress,
    ) -> None:
        registries = self._registries()
        credentials = await cargo.offers.credentials(known_as(reference.domain))
        missing = await registries.missing_at(reference, credentials, blobs, progress)
        await _have(missing, steps, cargo)
        await registries.push(
            reference, credentials, blobs=missing, manifest=manifest, media_type=OCI_MANIFEST, progress=progress
        )

    async def _write(
        self,
        wanted: CacheExport,
        blobs: Sequence[Descriptor],
        manifest: bytes,
        cargo: Cargo,
        steps: Sequence[Step],
        progress: Progress,
    ) -> None:
        await _have(blobs, steps, cargo)
        described = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(manifest), size=len(manifest))
        cargo.lease.add(described.digest)
        await blocking.run(self._library.put_blob, manifest)
        sources = [(blob, partial(self._library.open_blob, blob.digest)) for blob in (*blobs, described)]

        await cargo.directories.write(wanted, sources, described, progress)

    async def _packed(self, step: Step, packed: dict[tuple[str, ...], Layer], cargo: Cargo, progress: Progress) -> Step:
        """The step with its layers as they travel; what is elsewhere stays as it is."""
        for layer in step.filesystem.layers:
            if _identity(layer) not in packed:
                blob = layer.blob
                if await blocking.run(self._library.has_blob, blob.digest):
                    (blob,) = await self._forms.compressed([layer], Compression(), cargo.lease, progress)
                packed[_identity(layer)] = msgspec.structs.replace(layer, blob=blob)
        layers = tuple(packed[_identity(layer)] for layer in step.filesystem.layers)
        return replace(step, filesystem=FileSystem(layers=layers))

    async def _mount(self, mount: Mount, cargo: Cargo, progress: Progress) -> CacheMountRecord | None:
        """A cache mount as a layer, as it is while no step that locks it writes to it."""
        if not await self._caches.is_here(mount):
            return None
        async with self._caches.hold([mount]) as paths:
            layer = await run_cancellable(
                progress, "cpu", pack, self._library, paths[mount], cargo.lease, progress.cancel.check
            )
        return CacheMountRecord(name=name_of(mount), layer=layer)


def _identity(layer: Layer) -> tuple[str, ...]:
    return layer.blob.digest, layer.diff_id, layer.key, layer.created


async def _have(blobs: Iterable[Descriptor], steps: Iterable[Step], cargo: Cargo) -> None:
    """Fetch those blobs that are elsewhere. Raises RegistryError, DataLoss, OSError."""
    wanted = {blob.digest for blob in blobs}
    for step in steps:
        needed = [n for n, layer in enumerate(step.filesystem.layers, 1) if layer.blob.digest in wanted]
        below = FileSystem(layers=step.filesystem.layers[: max(needed, default=0)])
        if cargo.lazy.missing(below):
            cargo.lease.add(*below.keys())
            await cargo.lazy.have(below)
