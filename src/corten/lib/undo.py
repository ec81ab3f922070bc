"""A stack of undo steps: what was acquired is released in reverse order unless the work succeeded. Daemon only.

    async with Undo() as undo:
        snapshot = prepare(key); undo.push(remove, key)
        undo.keep()                       # success: nothing is unwound

Steps may be plain or async functions. The unwinding is shielded from cancellation and has a deadline; a failing
step is logged and does not stop the others, and the first error stays the one that is raised.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

_LOG = logging.getLogger("corten.undo")
_DEADLINE_S = 10.0


class Undo:
    """Async context manager over a stack of undo steps."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def push(self, step: Callable[..., Any], *args: Any) -> None:
        """Run `step(*args)` when the block fails."""
        self._steps.append((step, args))

    def keep(self) -> None:
        """Disarm: the work succeeded."""
        self._steps.clear()

    async def __aenter__(self) -> Undo:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or not self._steps:
            self._steps.clear()
            return
        await asyncio.shield(asyncio.ensure_future(self._unwind()))

    async def _unwind(self) -> None:
        while self._steps:
            step, args = self._steps.pop()
            try:
                result = step(*args)
                if inspect.isawaitable(result):
                    await asyncio.wait_for(result, _DEADLINE_S)
            except Exception:
                _LOG.exception("undo step failed", extra={"step": getattr(step, "__qualname__", repr(step))})
