"""What a quiet build is silent about: its status messages, kept for the case that it fails.

Most quiet builds have few messages and do not fail: nothing that shows progress is loaded for them.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from corten.cli.build.progress.trace import Trace

_KEPT = 256  # messages; a build that says more has its trace, which is bounded


class Silence:
    """Takes the place of a display."""

    is_for_people = False

    def __init__(self) -> None:
        self._kept: list[Mapping[str, Any]] = []
        self._trace: Trace | None = None

    def update(self, status: Mapping[str, Any]) -> None:
        """Take a message of the engine."""
        self._kept.append(status)
        if len(self._kept) > _KEPT:
            self._traced()

    def close(self) -> None:
        """Nothing was shown."""

    def failures(self) -> str:
        """What the steps that failed have written."""
        from corten.cli.build.progress.trace import failures

        return failures(self._traced())

    def _traced(self) -> Trace:
        from corten.cli.build.progress.trace import Trace

        self._trace = self._trace or Trace()
        for status in self._kept:
            self._trace.update(status, time.monotonic())
        self._kept.clear()
        return self._trace
