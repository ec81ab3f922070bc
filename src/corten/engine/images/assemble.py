"""New images made here: of a tar alone (import), or of a tar upon another image (commit). Daemon's loop; disk threads.

The layer is kept uncompressed: its digest is its diffID, and no time goes into compressing what may never be pushed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.decompress import Readable, TarStream
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.views import rfc3339
from corten.lib import blocking, codec
from corten.spec.digest import chain_ids, digest_of
from corten.spec.oci_image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    History,
    Image,
    ImageConfig,
    Manifest,
    RootFS,
)
from corten.spec.platform import Platform, host_platform
from corten.store.leases import Lease

_CHUNK = 1 << 20


class Assembler:
    """Writes layers, configurations and manifests; one a daemon."""

    def __init__(self, library: ImageLibrary) -> None:
        self._library = library

    async def add(
        self,
        layer: Callable[[], Readable],
        *,
        parent: ImageEntry | None,
        config: ImageConfig,
        references: Sequence[str] = (),
        author: str = "",
        comment: str = "",
        created_by: str = "",
        container: str = "",
        platform: Platform | None = None,
        progress: Progress,
    ) -> ImageEntry:
        """An image of `parent`'s layers and the tar that `layer` opens (in a thread; compressed ones are unpacked)."""
        keep = parent.blobs + list(parent.chain) if parent else []
        async with self._library.lease(keep) as lease:
            below = parent.config.diff_ids if parent else []
            blob = await self.add_layer(layer, below, lease, progress)
            image = _image(parent, config, [*below, blob.digest], author, comment, created_by, container, platform)
            layers = [*(parent.layers if parent else ()), blob]
            return await self.record(image, layers, references, lease, parent_id=parent.id if parent else "")

    async def add_layer(
        self, layer: Callable[[], Readable], below: Sequence[str], lease: Lease, progress: Progress
    ) -> Descriptor:
        """The tar that `layer` opens, as a blob and unpacked upon the layers with the diffIDs `below`; both are leased.

        The blob is not compressed: its digest is the new layer's diffID.
        """
        blob = await run_cancellable(progress, "disk", self._store_layer, layer, lease, progress)
        chain = chain_ids([*below, blob.digest])
        lease.add(chain[-1])
        parent = chain[-2] if len(chain) > 1 else ""
        await run_cancellable(progress, "disk", self._unpack, blob.digest, str(chain[-1]), str(parent), progress)
        return blob

    async def unpack_all(self, layers: Sequence[tuple[Descriptor, str]], lease: Lease, progress: Progress) -> None:
        """Unpack layers (blob and diffID), lowest first, as far as they are not; they and their blobs are leased."""
        chain = [str(chain_id) for chain_id in chain_ids(diff_id for _blob, diff_id in layers)]
        lease.add(*chain)
        if all(map(self._library.has_layer, reversed(chain))):
            return
        for number, (blob, diff_id) in enumerate(layers):
            below = chain[number - 1] if number else ""
            await run_cancellable(
                progress, "disk", self._unpack, blob.digest, chain[number], below, progress, diff_id=diff_id
            )

    def _store_layer(self, open_layer: Callable[[], Readable], lease: Lease, progress: Progress) -> Descriptor:
        stream = TarStream(open_layer())
        with self._library.scratch() as ingest:
            while chunk := stream.read(_CHUNK):
                progress.cancel.check()
                ingest.write(chunk)
            lease.add(stream.digest)
            ingest.commit(stream.digest, stream.size)
        return Descriptor(media_type=OCI_LAYER, digest=stream.digest, size=stream.size)

    def _unpack(self, digest: str, chain_id: str, parent: str, progress: Progress, *, diff_id: str = "") -> None:
        if not self._library.has_layer(chain_id):
            self._library.unpack(digest, diff_id or digest, chain_id, parent, lambda _: progress.cancel.check())

    async def record(
        self,
        image: Image,
        layers: Sequence[Descriptor],
        references: Sequence[str],
        lease: Lease,
        *,
        parent_id: str = "",
    ) -> ImageEntry:
        """An image with this configuration of layers that are here and leased; a name goes to it from others."""
        descriptor, manifest = await self.documents(image, layers, lease)
        return await self._library.add(descriptor, manifest, image, references, parent=parent_id, made_here=True)

    async def documents(self, image: Image, layers: Sequence[Descriptor], lease: Lease) -> tuple[Descriptor, Manifest]:
        """Store and lease an image's configuration and manifest, which are no image yet; returns the manifest."""
        raw = codec.encode(image)
        described = Descriptor(media_type=OCI_CONFIG, digest=digest_of(raw), size=len(raw))
        media_type = OCI_MANIFEST
        own = [_as_oci(layer) for layer in layers]
        manifest = Manifest(schema_version=2, media_type=media_type, config=described, layers=own)
        manifest_raw = codec.encode(manifest)
        lease.add(digest_of(raw), digest_of(manifest_raw))
        await blocking.run(self._library.put_blob, raw)
        await blocking.run(self._library.put_blob, manifest_raw)
        return Descriptor(media_type=media_type, digest=digest_of(manifest_raw), size=len(manifest_raw)), manifest


def _image(
    parent: ImageEntry | None,
    config: ImageConfig,
    diff_ids: Sequence[str],
    author: str,
    comment: str,
    created_by: str,
    container: str,
    platform: Platform | None,
) -> Image:
    now = rfc3339(time.time_ns())
    base = platform or (parent.config.platform if parent else host_platform())
    step = History(created=now, created_by=created_by, author=author, comment=comment)
    return Image(
        architecture=base.architecture,
        os=base.os,
        variant=base.variant or None,
        created=now,
        author=author or None,
        comment=comment or None,
        container=container or None,
        docker_version=None,
        config=config,
        rootfs=RootFS(type="layers", diff_ids=list(diff_ids)),
        history=[*((parent.config.history or []) if parent else []), step],
    )


def _as_oci(layer: Descriptor) -> Descriptor:
    """An OCI manifest names its layers by OCI's media types."""
    kinds = {".tar.gzip": "+gzip", ".tar.zstd": "+zstd", ".tar": ""}
    suffix = next((oci for docker, oci in kinds.items() if layer.media_type.endswith(f"diff{docker}")), None)
    if suffix is None:
        return layer
    return Descriptor(media_type=OCI_LAYER + suffix, digest=layer.digest, size=layer.size)
