"""Time per step of a use case, at debug level; costs a clock reading a step. Daemon."""

from __future__ import annotations

import logging
import time

_LOG = logging.getLogger("corten.trace")


class Trace:
    """Marks of one run through a use case: `start 1a2b prepare=0.41 attach=0.28 total=3.1` (milliseconds)."""

    __slots__ = ("_began", "_cid", "_last", "_marks", "_name")

    def __init__(self, name: str, cid: str) -> None:
        self._name = name
        self._cid = cid
        self._began = self._last = time.perf_counter()
        self._marks: list[str] = []

    def mark(self, step: str) -> None:
        """The step named has just ended."""
        now = time.perf_counter()
        self._marks.append(f"{step}={(now - self._last) * 1000:.2f}")
        self._last = now

    def done(self) -> None:
        """Write the line."""
        if _LOG.isEnabledFor(logging.DEBUG):
            total = (time.perf_counter() - self._began) * 1000
            _LOG.debug("%s %s %s total=%.2f", self._name, self._cid[:12], " ".join(self._marks), total)
