"""What removing some platforms of an image comes to (`rmi --platform`): which blobs go. Blocking reads; daemon.

The platform that the image is kept under, and containers are made of, goes only as the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.content_tree import grow
from corten.engine.images.library import ImageLibrary
from corten.engine.images.platform_manifest import platform_node
from corten.engine.images.removal import ImageInUse
from corten.spec.digest import short
from corten.spec.oci_image import Descriptor
from corten.spec.platform import Platform


@dataclass(frozen=True, slots=True)
class PlatformRemoval:
    """The manifests that go and all blobs that go with them; `whole`: nothing is left, the image itself goes."""

    manifests: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    whole: bool = False


def plan_platform_removal(
    library: ImageLibrary, entry: ImageEntry, root: Descriptor, name: str, platforms: Sequence[Platform]
) -> PlatformRemoval:
    """What to take away of `root`, which is what `name` means. Blocking.

    Raises ImageNotFound for a platform that is not here, ImageInUse for the image's own while others are.
    """
    tree = grow(root, library.read_document)
    chosen = {n.descriptor.digest: n for n in (platform_node(library, tree, p, name) for p in platforms)}
    rest = [n for n in tree.manifests() if n.descriptor.digest not in chosen and n.about not in chosen]
    if any(node.image_id == entry.id for node in chosen.values()):
        if any(not node.is_attestation and node.is_complete(library.has_blob) for node in rest):
            raise ImageInUse(
                f"conflict: unable to delete {short(entry.manifest.digest)} (cannot be forced) - image "
                f"{short(entry.id)} is kept for this platform",
                hint="remove the other platforms first, or the whole image",
            )
        return PlatformRemoval(whole=True)
    kept = {digest for node in rest for digest in node.all_digests()} | set(entry.blobs)
    for other in entry.roots:  # what further names of the image mean
        if other.digest != root.digest:
            kept.update(grow(other, library.read_document).all_digests())
    gone = [n for n in tree.manifests() if n.descriptor.digest in chosen or n.about in chosen]
    blobs = dict.fromkeys(digest for node in gone for digest in node.all_digests() if digest not in kept)
    return PlatformRemoval(manifests=tuple(chosen), blobs=tuple(blobs))
