"""Wire types for images beyond Docker's API: trees, differences, mounts. Pure; daemon. Documented in docs/images.md."""

from __future__ import annotations

from typing import Any

import msgspec

from corten.spec.oci_image import Descriptor


class TreeBlob(msgspec.Struct, rename="pascal", kw_only=True):
    """A blob that a manifest names. `shared_with`: the other images here that have it, as people call them."""

    descriptor: Descriptor
    available: bool
    diff_id: str = msgspec.field(name="DiffID", default="")
    unpacked_size: int = -1  # -1: it is not unpacked here
    shared_with: list[str] = []


class TreeNode(msgspec.Struct, rename="pascal", kw_only=True):
    """An index or a manifest. `kind`: index, image, attestation (`about` a manifest) or unknown.

    `image_id` is set for a platform that containers can be made of here, `containers` are those that were.
    """

    descriptor: Descriptor
    kind: str
    available: bool
    platform: str = ""
    about: str = ""
    image_id: str = msgspec.field(name="ImageID", default="")
    containers: list[str] = []
    config: TreeBlob | None = None
    layers: list[TreeBlob] = []
    children: list[TreeNode] = []


class ImageTree(msgspec.Struct, rename="pascal", kw_only=True):
    """`GET /corten/images/{name}/tree`."""

    name: str
    id: str
    root: TreeNode


class DiffSide(msgspec.Struct, rename="pascal", kw_only=True):
    """One of two images."""

    name: str
    id: str
    size: int
    layers: int


class FileChange(msgspec.Struct, rename="pascal", kw_only=True):
    """A path that differs: `kind` is A (added), C (changed) or D (deleted); sizes are of regular files.

    `what` says of a changed one what differs: type, content, mode, owner, link, device, xattrs, time.
    """

    path: str
    kind: str
    old_size: int = 0
    new_size: int = 0
    what: list[str] = []


class ConfigChange(msgspec.Struct, rename="pascal", kw_only=True):
    """A field of the configuration that differs; an absent one is null."""

    field: str
    old: Any
    new: Any


class ImageDiff(msgspec.Struct, rename="pascal", kw_only=True):
    """`GET /corten/images/diff`. `cut`: there are more differing files than are listed."""

    old: DiffSide
    new: DiffSide
    shared_layers: int
    config: list[ConfigChange]
    files: list[FileChange]
    cut: bool = False


class MountRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """Where to mount an image; without a target the engine makes a directory."""

    target: str = ""


class UnmountRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """What to unmount: a directory, or an image by name or id. `force` lets go of one that is in use."""

    target: str
    force: bool = False


class ImageMount(msgspec.Struct, rename="pascal", kw_only=True):
    """An image that is mounted on the machine."""

    target: str
    image_id: str = msgspec.field(name="ImageID")
    image: str
