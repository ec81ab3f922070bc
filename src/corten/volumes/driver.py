"""What a volume driver is. Blocking; called from the daemon's threads.

A driver keeps directories by volume name and knows nothing of containers, labels or the API: that is engine/volumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class VolumeDriver(Protocol):
    """Keeps volumes. Errors: InvalidArgument, FailedPrecondition, OSError."""

    name: str
    scope: str

    def check(self, options: Mapping[str, str]) -> None:
        """Refuse options that can never work."""

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """Make the volume, or nothing."""

    def path(self, name: str) -> str:
        """Where its content is (inspect's Mountpoint)."""

    def mount(self, name: str, options: Mapping[str, str]) -> str:
        """Make the content available; nothing happens when it is. Returns its directory."""

    def unmount(self, name: str, options: Mapping[str, str]) -> None:
        """No container uses it any more."""

    def remove(self, name: str, options: Mapping[str, str]) -> None:
        """Destroy the volume with its content; a missing one is no error."""

    def usage(self, name: str, options: Mapping[str, str]) -> int:
        """Bytes on disk, -1 when that cannot be known."""

    def names(self) -> list[str]:
        """All volumes that exist; clears what a crash left of removals."""
