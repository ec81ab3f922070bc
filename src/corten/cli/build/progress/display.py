"""Where progress is written: standard error, at most ten times a second, and while nothing comes at all. I/O edge.

The messages come in the caller's thread; another one draws in between, for times go on when the engine is silent.
"""

from __future__ import annotations

import time
from _thread import allocate_lock, start_new_thread  # `threading` costs two milliseconds

from corten.cli.build.progress.trace import Trace, failures
from corten.cli.errors import CliError
from corten.cli.terminal import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TextIO

MODES = ("auto", "plain", "tty", "quiet", "none", "rawjson")
_TICK_S = 0.15
_LEAST_S = 0.1
_ROWS, _COLUMNS = 10, 80  # of a terminal that does not say
_BUILDER = "default"
_DRIVER = "corten"


class Display:
    """How one build is shown. `mode` is one of MODES, or empty for auto. Raises CliError for another one."""

    def __init__(self, mode: str, out: TextIO, environment: Mapping[str, str]) -> None:
        if mode and mode not in MODES:
            raise CliError(f"invalid progress mode {mode}")
        self.trace = Trace()
        self._out = out
        self._raw = mode == "rawjson"
        self.is_for_people = mode not in ("quiet", "none", "rawjson")
        self._draw, self._last = self._renderers(mode, out, environment)
        self._guard = allocate_lock()
        self._drawn_at = 0.0
        self._is_over = False
        self._over = allocate_lock()  # free as soon as the thread shall end
        self._over.acquire()
        self._ended = allocate_lock()  # held as long as there is a thread
        self._is_ticking = False
        self._clock_offset_ns: int | None = None

    def _renderers(
        self, mode: str, out: TextIO, environment: Mapping[str, str]
    ) -> tuple[Callable[[], str] | None, Callable[[], str] | None]:
        """What draws in between, and what draws the end."""
        is_terminal = out.isatty()
        if mode == "tty" and not is_terminal:
            raise CliError("failed to get console: provided file is not a console")
        if not self.is_for_people:
            return None, None
        if mode == "tty" or (mode in ("", "auto") and is_terminal):
            from corten.cli.build.progress.colors import colors_of
            from corten.cli.build.progress.tty import Tty

            tty = Tty(self.trace, colors_of(environment), f"{_DRIVER}:{_BUILDER}")
            return (
                lambda: tty.text(self._engine_time(), *self._size()),
                lambda: tty.end(self._engine_time(), *self._size()),
            )
        from corten.cli.build.progress.plain import Plain

        plain = Plain(self.trace, f'#0 building with "{_BUILDER}" instance using {_DRIVER} driver')
        return lambda: plain.text(time.monotonic()), lambda: plain.end(time.monotonic())

    def update(self, status: Mapping[str, Any]) -> None:
        """Take a message of the engine."""
        if self._raw:
            import json

            self._write(json.dumps(status, separators=(",", ":"), ensure_ascii=False) + "\n")
            return
        with self._guard:
            self.trace.update(status, time.monotonic())
            if self._clock_offset_ns is None and self.trace.started is not None:
                self._clock_offset_ns = time.time_ns() - self.trace.started
            if time.monotonic() - self._drawn_at >= _LEAST_S:
                self._refresh()
        if self._draw is not None and not self._is_ticking and not self._is_over:
            self._is_ticking = True
            self._ended.acquire()
            start_new_thread(self._tick, ())

    def close(self) -> None:
        """Show the rest. More messages may not come."""
        if self._is_over:
            return
        self._is_over = True
        self._over.release()
        with self._ended:
            pass
        if self._last is not None and self.trace.in_order:
            self._write(self._last())

    def failures(self) -> str:
        """What the steps that failed have written: for a build that said nothing while it ran."""
        return failures(self.trace)

    def _tick(self) -> None:
        try:
            while not self._over.acquire(timeout=_TICK_S):
                with self._guard:
                    self._refresh()
        except (OSError, ValueError):
            pass  # nobody reads any more: the other thread finds out by itself
        finally:
            self._ended.release()

    def _refresh(self) -> None:
        self._drawn_at = time.monotonic()
        if self._draw is not None:
            text = self._draw()
            if text:
                self._write(text)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _engine_time(self) -> int:
        return time.time_ns() - (self._clock_offset_ns or 0)

    def _size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            rows, columns = size_of(self._out.fileno())
        except (OSError, ValueError):
            rows = columns = 0
        return columns or _COLUMNS, rows or _ROWS


def mode_of(option: str, environment: Mapping[str, str]) -> str:
    """What `--progress` says, or else the environment."""
    return option or environment.get("BUILDKIT_PROGRESS", "") or "auto"
