"""The root of a container that is about to start, mounted beside the other work of the start. Daemon's loop.

Where layers are mounted by the daemon, so are the roots that stand on them: init gets a detached mount.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from corten.engine.containers.collaborators import Snapshots
from corten.lib import blocking


class MountedRoot:
    """Begins to mount; `descriptor` waits for it, and `close` lets go, mounted by then or not."""

    def __init__(self, cid: str, rootfs: Mapping[str, Any], snapshots: Snapshots) -> None:
        self._mounting: asyncio.Future[int] | None = None
        if rootfs["type"] == "mount":
            self._mounting = asyncio.ensure_future(blocking.run(snapshots.root_fd, cid))

    async def descriptor(self) -> int:
        """The mount, or -1 where init makes it itself. Raises OSError."""
        return -1 if self._mounting is None else await asyncio.shield(self._mounting)

    def close(self) -> None:
        """Close the descriptor; who got a copy keeps the mount. May be called again."""
        mounting, self._mounting = self._mounting, None
        if mounting is not None:
            mounting.add_done_callback(_close)


def _close(mounted: asyncio.Future[int]) -> None:
    if not mounted.cancelled() and mounted.exception() is None:
        os.close(mounted.result())
