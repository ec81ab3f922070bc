"""Ending blocking transfers from outside: a flag that threads check, and that wakes those waiting on a socket. Daemon.

Set from the event loop when the client goes away; a thread in a read is woken by shutting its socket down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from corten.errors import Cancelled


class Cancel:
    """One flag for all the work of one pull or push."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._interrupts: set[Callable[[], None]] = set()

    def set(self) -> None:
        """Raise the flag and interrupt what is registered. Never blocks on a peer."""
        self._event.set()
        with self._lock:
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            with suppress(Exception):  # the socket may be closed already: then nobody waits on it
                interrupt()

    @property
    def is_set(self) -> bool:
        """Whether the work is to end."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled when the flag is up."""
        if self._event.is_set():
            raise Cancelled("context canceled")

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the flag goes up. Raises Cancelled."""
        if self._event.wait(seconds):
            raise Cancelled("context canceled")

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call `interrupt` (from another thread) when the flag goes up during the block."""
        with self._lock:
            self._interrupts.add(interrupt)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._interrupts.discard(interrupt)
