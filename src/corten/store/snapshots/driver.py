"""What a snapshot driver does, whatever it is made of. Each driver passes tests/contract/test_snapshots.py.

A *layer* is committed, read-only and named by its chainID; it stands on a parent layer or on nothing (""). A *snapshot*
is one container's writable view upon a layer, named by a key. Layers are made by `apply` and are there wholly or not at
all, also after a crash. All calls block; different keys may be worked on at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from corten.lib.tar import Readable


class Change(NamedTuple):
    """One difference of a snapshot to its image: `kind` is C (changed), A (added) or D (deleted)."""

    kind: str
    path: bytes


class StoredLayer(Protocol):
    """A layer that is here."""

    @property
    def parent(self) -> str:
        """The chainID of the layer it stands on, or empty."""

    @property
    def size(self) -> int:
        """Bytes of its own files, as `apply` counted them."""


class SnapshotDriver(Protocol):
    """Layers and snapshots."""

    @property
    def name(self) -> str:
        """As Docker names it, for `info` and inspect."""

    def has(self, chain_id: str) -> bool:
        """Whether the layer is here, complete."""

    def apply(self, chain_id: str, parent: str, stream: Readable) -> int:
        """Make a layer from an uncompressed tar, read to its end before anything is visible; returns its size.

        Raises InvalidTar, OSError (ENOSPC); nothing is left then. A layer that is here already is left as it is.
        """

    def size(self, chain_id: str) -> int:
        """Bytes of the layer's own files. Raises NotFound."""

    def remove_layer(self, chain_id: str) -> None:
        """Delete a layer. Raises Conflict when a layer or snapshot stands on it."""

    def layers(self) -> Mapping[str, StoredLayer]:
        """All layers, by chainID; also one whose files are damaged or gone."""

    def check_layer(self, chain_id: str) -> list[str]:
        """What is wrong with a layer's files, in words; may read all of them. Raises NotFound."""

    def forget_layer(self, chain_id: str) -> None:
        """Give a damaged layer up although others stand on it, so that `apply` makes it anew; no container may run."""

    def snapshots(self) -> Mapping[str, str]:
        """The chainID of the layer that each snapshot stands on, by key."""

    def check_snapshot(self, key: str) -> list[str]:
        """What is wrong with a snapshot's files, in words. Raises NotFound."""

    def orphans(self) -> list[str]:
        """Paths below the driver's root that nothing names, and nothing is about to name."""

    def disk_usage(self) -> Mapping[str, int]:
        """Allocated bytes of `layers`, `snapshots` and `trash`; their sum is all that the driver has on disk."""

    def prepare(self, key: str, parent: str) -> dict[str, Any]:
        """A new snapshot upon layer `parent`; returns its RootfsMount. Quick: every start waits for it."""

    def rootfs(self, key: str) -> dict[str, Any]:
        """The RootfsMount of a snapshot. Raises NotFound."""

    def remove(self, key: str) -> None:
        """Give a snapshot up; its files are deleted later (`purge`). A missing one is no error."""

    def keys(self) -> Sequence[str]:
        """All snapshots."""

    def usage(self, key: str) -> int:
        """Bytes that the snapshot has written."""

    def changes(self, key: str) -> list[Change]:
        """What the snapshot has changed, parents before children."""

    def upper_fd(self, key: str) -> int:
        """A directory with what the snapshot has written, overlayfs' whiteouts included; the caller closes it."""

    def root_fd(self, key: str, *, writable: bool = True) -> int:
        """The whole root as a detached mount; the caller closes it. A running container's only with writable=False."""

    def image_fd(self, chain_id: str) -> int:
        """A layer upon those below it, as the image has them: a detached, read-only mount without devices and setuid.

        The caller closes it; while it is mounted somewhere, the layer must stay. Raises NotFound.
        """

    def purge(self) -> None:
        """Delete what was given up; in the background. The rows of it, and of its container, are durably gone first."""
