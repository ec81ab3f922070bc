"""Which manifest of an index is for a platform: asked by push, save and removal. Blocking reads; daemon."""

from __future__ import annotations

from corten.engine.images.catalog import ImageNotFound
from corten.engine.images.content_tree import Node
from corten.engine.images.library import ImageLibrary
from corten.spec import oci_image
from corten.spec import platform as platforms
from corten.spec.oci_image import CONFIG_LIMIT, Manifest
from corten.spec.platform import Platform


def platform_node(library: ImageLibrary, tree: Node, wanted: Platform, name: str) -> Node:
    """The manifest of `tree` for `wanted`, whose content is here. Raises ImageNotFound."""
    here = [n for n in tree.manifests() if not n.is_attestation and n.is_complete(library.has_blob)]
    found = platforms.choose([platform_of(library, node) for node in here], wanted)
    if found is None:
        raise ImageNotFound(
            f"image with reference {name} was found but does not provide the specified platform ({wanted})"
        )
    return here[found]


def platform_of(library: ImageLibrary, node: Node) -> Platform | None:
    """What a manifest is for: as its index says, else as its configuration does."""
    if node.descriptor.platform is not None:
        return node.descriptor.platform.to_platform()
    if isinstance(node.document, Manifest) and oci_image.is_image(node.document):
        return oci_image.parse_image(library.read_blob(node.document.config.digest, CONFIG_LIMIT)).platform
    return None
