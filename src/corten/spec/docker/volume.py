"""Docker's wire types for volumes. Pure. Source: Docker Engine API 1.24 to 1.50."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class VolumeUsage(msgspec.Struct, rename="pascal", kw_only=True):
    """Disk usage; -1 where it was not computed."""

    size: int = -1
    ref_count: int = -1


class Volume(msgspec.Struct, rename="pascal", kw_only=True):
    """A volume. Labels and Options are null when none were given, as Docker sends them."""

    created_at: str
    driver: str
    labels: dict[str, str] | None = None
    mountpoint: str
    name: str
    options: dict[str, str] | None = None
    scope: str = "local"
    status: dict[str, Any] | UnsetType = UNSET
    usage_data: VolumeUsage | UnsetType = UNSET


class VolumeCreateRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """The body of `POST /volumes/create`; the API allows null for each field."""

    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: Any = None


class VolumeList(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer of `GET /volumes`."""

    volumes: list[Volume]
    warnings: list[str] | None = None


class VolumePruneReport(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer of `POST /volumes/prune`."""

    volumes_deleted: list[str] | None
    space_reclaimed: int
