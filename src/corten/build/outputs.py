"""The result of a build for one platform. Pure; daemon. Where it goes is the exporters' (`exporters/`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.build.export import image_id
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.spec.oci_image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The configuration document and the layers; `fetched` is what came from elsewhere, as far as this build saw it,
    and `commits` are those that git sources meant."""

    image: Image
    filesystem: FileSystem
    fetched: Mapping[Vertex, FileSystem] = field(default_factory=dict)
    commits: Mapping[Vertex, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The image's id, whether it is stored or not."""
        return image_id(self.image)
