"""`corten fsck`: looks at all that is stored, repairs it if that is wanted, says what it found. Daemon's loop.

The engine serves meanwhile. One check runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from corten.engine.fsck.findings import Findings
from corten.engine.fsck.repair import Repair
from corten.engine.fsck.stored import StoredCheck
from corten.engine.fsck.surroundings import Surroundings
from corten.errors import Conflict
from corten.lib import blocking
from corten.registry.credentials import Credentials
from corten.spec.corten.fsck import FsckMessage


class FsckRunning(Conflict):
    """Another check is under way."""

    code = "fsck-running"


class FsckService:
    """One a daemon. `make_repair` makes what a repair needs, a registry client among it."""

    def __init__(
        self,
        *,
        stored: StoredCheck,
        surroundings: Surroundings,
        make_repair: Callable[[Mapping[str, Credentials]], Repair],
    ) -> None:
        self._stored = stored
        self._surroundings = surroundings
        self._make_repair = make_repair
        self._lock = asyncio.Lock()

    async def run(
        self, *, repair: bool = False, credentials: Mapping[str, Credentials] | None = None
    ) -> AsyncGenerator[FsckMessage, None]:
        """Progress, then each finding, then the summary. Raises FsckRunning."""
        if self._lock.locked():
            raise FsckRunning("a check of the store is under way")
        async with self._lock:
            findings = Findings()
            await blocking.run(self._surroundings.check_database, findings)
            for look in (self._stored.check_blobs, self._stored.check_images, self._stored.check_layers):
                async for message in look(findings):
                    yield message
            for quick in (
                self._surroundings.check_containers,
                self._surroundings.check_volumes,
                self._surroundings.check_leftovers,
            ):
                await blocking.run(quick, findings)
            if repair and findings.problems:
                async for message in self._make_repair(credentials or {}).run(findings):
                    yield message
            for problem in findings.problems:
                yield FsckMessage(finding=problem.finding())
            yield FsckMessage(summary=findings.summary())
