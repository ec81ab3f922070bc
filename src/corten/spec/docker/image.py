"""Docker's wire types for images: list, inspect, history, delete, prune, search, distribution, login. Pure; daemon.

Source: Docker Engine API 1.24 to 1.5x. Lists and maps that clients index without looking are never null.
"""

from __future__ import annotations

from typing import Any

import msgspec

from corten.spec.oci_image import Descriptor, PlatformInfo


class ImageSummary(msgspec.Struct, rename="pascal", kw_only=True):
    """One row of `GET /images/json`; sizes are -1 when they were not computed."""

    id: str
    parent_id: str = ""
    repo_tags: list[str]
    repo_digests: list[str]
    created: int
    size: int
    shared_size: int = -1
    virtual_size: int | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] | None
    containers: int = -1
    manifests: list[ManifestSummary] | msgspec.UnsetType = msgspec.UNSET
    descriptor: Descriptor | msgspec.UnsetType = msgspec.UNSET


class ManifestSize(msgspec.Struct, rename="pascal", kw_only=True):
    """How much of a manifest is here."""

    content: int
    total: int


class ImageData(msgspec.Struct, rename="pascal", kw_only=True):
    """The image of one manifest."""

    platform: PlatformInfo
    containers: list[str]
    size: dict[str, int]


class AttestationData(msgspec.Struct, kw_only=True):
    """The image's manifest that an attestation is about."""

    about: str = msgspec.field(name="For")


class ManifestSummary(msgspec.Struct, kw_only=True):
    """One manifest of an image (API 1.47). `kind`: image, attestation (each with its data), or unknown."""

    id: str = msgspec.field(name="ID")
    descriptor: Descriptor = msgspec.field(name="Descriptor")
    available: bool = msgspec.field(name="Available")
    size: ManifestSize = msgspec.field(name="Size")
    kind: str = msgspec.field(name="Kind")
    image_data: ImageData | msgspec.UnsetType = msgspec.field(name="ImageData", default=msgspec.UNSET)
    attestation_data: AttestationData | msgspec.UnsetType = msgspec.field(name="AttestationData", default=msgspec.UNSET)


class RootFS(msgspec.Struct, rename="pascal", kw_only=True):
    """The diffIDs."""

    type: str
    layers: list[str]


class DriverData(msgspec.Struct, rename="pascal", kw_only=True):
    """How the image's file system is stored."""

    data: dict[str, str] | None
    name: str


class ImageInspect(msgspec.Struct, rename="pascal", kw_only=True):
    """`GET /images/{name}/json`."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str = ""
    comment: str
    created: str | None
    container: str | msgspec.UnsetType = msgspec.UNSET
    container_config: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    docker_version: str
    author: str
    config: dict[str, Any]
    architecture: str
    variant: str | msgspec.UnsetType = msgspec.UNSET
    os: str
    os_version: str | msgspec.UnsetType = msgspec.UNSET
    size: int
    virtual_size: int | msgspec.UnsetType = msgspec.UNSET
    graph_driver: DriverData
    root_fs: RootFS = msgspec.field(name="RootFS")
    metadata: dict[str, str]
    descriptor: Descriptor | msgspec.UnsetType = msgspec.UNSET
    manifests: list[ManifestSummary] | msgspec.UnsetType = msgspec.UNSET


class HistoryItem(msgspec.Struct, rename="pascal", kw_only=True):
    """One row of `GET /images/{name}/history`, newest first."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class DeleteItem(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """What a deletion did: one of the two is set."""

    untagged: str = ""
    deleted: str = ""


class PruneReport(msgspec.Struct, rename="pascal", kw_only=True):
    """`POST /images/prune`."""

    images_deleted: list[DeleteItem] | None
    space_reclaimed: int


class SearchResult(msgspec.Struct, kw_only=True):
    """One row of `GET /images/search`."""

    star_count: int = 0
    is_official: bool = False
    name: str = ""
    is_automated: bool = False
    description: str = ""


class DistributionInspect(msgspec.Struct, rename="pascal", kw_only=True):
    """`GET /distribution/{name}/json`."""

    descriptor: Descriptor
    platforms: list[PlatformInfo]


class AuthConfig(msgspec.Struct, kw_only=True):
    """Credentials as clients send them (`X-Registry-Auth`, `POST /auth`); never logged and never echoed."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    email: str | None = None
    server_address: str | None = msgspec.field(default=None, name="serveraddress")
    identity_token: str | None = msgspec.field(default=None, name="identitytoken")
    registry_token: str | None = msgspec.field(default=None, name="registrytoken")

    def __repr__(self) -> str:
        return f"AuthConfig(server_address={self.server_address!r}, secrets=***)"


class AuthStatus(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer to a login."""

    status: str
    identity_token: str = ""
