"""Carries a build's cache out: blobs that a registry or a directory lacks, then the document that names them.

Layers go compressed, as images' do, so that a blob which the image's repository has is taken over from there; what is
not here and is there already is not fetched for it. Daemon's loop; net, cpu and disk threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import msgspec

from corten.build.bases import registry_keys
from corten.build.cache_mounts import CacheMounts, name_of
from corten.build.caching.format import (
    CACHE_CONFIG,
    LAYERS_LIMIT,
    CacheContent,
    CacheMountRecord,
    Step,
    encode_config,
)
from corten.build.caching.layout import write_layout
from corten.build.caching.options import CacheExport
from corten.build.caching.packing import pack
from corten.build.face import Offers
from corten.build.filesystem import FileSystem, Layer
from corten.build.lazy_layers import LazyLayers
from corten.build.operations import Mount
from corten.engine.images.compress import compressed, is_plain
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.errors import Internal, InvalidArgument
from corten.lib import blocking, codec
from corten.registry.credentials import Credentials
from corten.spec.digest import digest_of
from corten.spec.oci_image import OCI_MANIFEST, Descriptor, Manifest
from corten.spec.reference import Reference
from corten.store.leases import Lease

_REMEMBERED = 4096


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
    """What one build has for a cache, and what it needs while it is carried out. `open_directory` opens a directory of
    the client's for writing."""

    steps: Sequence[Step]
    mounts: Sequence[Mount]
    lazy: LazyLayers
    lease: Lease
    offers: Offers
    open_directory: Callable[[str], int]


class CacheExporter:
    """One a daemon; remembers which compressed blob a plain one gives."""

    def __init__(self, *, library: ImageLibrary, registries: Callable[[], Registries], caches: CacheMounts) -> None:
        self.library = library
        self._registries = registries
        self._caches = caches
        self._known: dict[str, Descriptor] = {}

    async def export(self, wanted: CacheExport, cargo: Cargo) -> None:
        """Carry it out. Raises RegistryError, DataLoss, InvalidArgument, OSError."""
        progress = Progress()
        plain: dict[str, Descriptor] = {}  # by the digest of what became of them
        steps = [await self._packed(step, plain, cargo, progress) for step in cargo.steps]
        mounts = [await self._mount(mount, cargo, progress) for mount in cargo.mounts] if wanted.mounts else []
        content = CacheContent(steps=tuple(steps), mounts=tuple({m.name: m for m in mounts if m is not None}.values()))
        raw, blobs = await blocking.run(encode_config, content, pool="cpu")
        if len(blobs) > LAYERS_LIMIT:
            raise InvalidArgument(f"the cache has more than {LAYERS_LIMIT} layers; export it with mode=min")
        config = Descriptor(media_type=CACHE_CONFIG, digest=digest_of(raw), size=len(raw))
        manifest = codec.encode(Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=blobs))
        cargo.lease.add(config.digest)
        await blocking.run(self.library.put_blob, raw)
        everything = [*blobs, config]
        if wanted.reference is not None:
            await self._push(wanted.reference, everything, manifest, _Supply(self, content, plain, cargo, progress))
        else:
            await self._write(wanted, everything, manifest, _Supply(self, content, plain, cargo, progress))

    async def _push(self, reference: Reference, blobs: Sequence[Descriptor], manifest: bytes, supply: _Supply) -> None:
        registries, progress = self._registries(), supply.progress
        credentials = await supply.cargo.offers.credentials(registry_keys(reference))
        missing = await registries.missing_at(reference, credentials, blobs, progress)
        await supply.have(missing)
        await registries.push(
            reference, credentials, blobs=missing, manifest=manifest, media_type=OCI_MANIFEST, progress=progress
        )

    async def _write(self, wanted: CacheExport, blobs: Sequence[Descriptor], manifest: bytes, supply: _Supply) -> None:
        await supply.have(blobs)
        described = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(manifest), size=len(manifest))
        supply.cargo.lease.add(described.digest)
        await blocking.run(self.library.put_blob, manifest)
        sources = [(blob, partial(self.library.open_blob, blob.digest)) for blob in (*blobs, described)]

        def write() -> None:
            directory = supply.cargo.open_directory(wanted.path)
            try:
                write_layout(
                    directory, blobs=sources, manifest=described, tag=wanted.tag, check=supply.progress.cancel.check
                )
            finally:
                os.close(directory)

        await run_cancellable(supply.progress, "disk", write)

    # -- layers

    async def _packed(self, step: Step, plain: dict[str, Descriptor], cargo: Cargo, progress: Progress) -> Step:
        """The step with its layers as they travel."""
        layers = []
        for layer in step.filesystem.layers:
            blob = layer.blob
            if is_plain(blob):
                blob = self._known.get(layer.blob.digest) or await self.compress(layer.blob, cargo, progress)
                plain[blob.digest] = layer.blob
            layers.append(msgspec.structs.replace(layer, blob=blob))
        return replace(step, filesystem=FileSystem(layers=tuple(layers)))

    async def compress(self, blob: Descriptor, cargo: Cargo, progress: Progress) -> Descriptor:
        """The compressed blob of a plain one, here and leased."""
        if not self.library.has_blob(blob.digest):  # a plain one elsewhere: it travels as it is
            return blob

        def step(_done: int) -> None:
            progress.cancel.check()

        found = await run_cancellable(progress, "cpu", compressed, self.library, blob, cargo.lease, step)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[blob.digest] = found
        return found

    async def _mount(self, mount: Mount, cargo: Cargo, progress: Progress) -> CacheMountRecord | None:
        """A cache mount as a layer, as it is while no step that locks it writes to it."""
        if not await self._caches.is_here(mount):
            return None
        async with self._caches.hold([mount]) as paths:
            layer = await run_cancellable(
                progress, "cpu", pack, self.library, paths[mount], cargo.lease, progress.cancel.check
            )
        return CacheMountRecord(name=name_of(mount), layer=layer)


@dataclass(frozen=True, slots=True)
class _Supply:
    """Has the blobs of one export here, as far as they are asked for."""

    exporter: CacheExporter
    content: CacheContent
    plain: dict[str, Descriptor]
    cargo: Cargo
    progress: Progress

    async def have(self, blobs: Iterable[Descriptor]) -> None:
        """Make or fetch what is not here. Raises RegistryError, DataLoss, OSError."""
        library = self.exporter.library
        for blob in blobs:
            self.cargo.lease.add(blob.digest)
            if await blocking.run(library.has_blob, blob.digest):
                continue
            plain = self.plain.get(blob.digest)
            if plain is not None and plain.digest != blob.digest:
                made = await self.exporter.compress(plain, self.cargo, self.progress)
                if made.digest != blob.digest:
                    raise Internal(f"layer {plain.digest} was compressed to another blob than before")
                continue
            await self._fetch(blob.digest)

    async def _fetch(self, digest: str) -> None:
        for step in self.content.steps:
            if any(layer.blob.digest == digest for layer in step.filesystem.layers):
                below = _up_to(step.filesystem.layers, digest)
                self.cargo.lease.add(*below.keys())
                await self.cargo.lazy.have(below)
                return


def _up_to(layers: Sequence[Layer], digest: str) -> FileSystem:
    number = next(n for n, layer in enumerate(layers, 1) if layer.blob.digest == digest)
    return FileSystem(layers=tuple(layers[:number]))
