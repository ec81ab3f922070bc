"""Leases: what is being brought or read, and is therefore not collected. Daemon; any thread.

They live in memory. What a lease protects is work of this process: after a crash nobody goes on with it, and the next
start collects by age what was half brought, so that a pull that is tried again finds its bytes. A lease on disk would
have to be written before each download and cleared by a start that knows less than the collector does.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class Lease:
    """What one user holds; more may be added while it lasts."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._keys: list[str] = []

    @property
    def keys(self) -> list[str]:
        """What is held."""
        return list(dict.fromkeys(self._keys))

    def add(self, *keys: str) -> None:
        """Hold these too: from here on they are not deleted."""
        self._leases.change(keys, 1)
        self._keys += keys

    def end(self) -> None:
        """Hold nothing any more."""
        self._leases.change(self._keys, -1)
        self._keys = []


class Leases:
    """All leases of the daemon, by digest of a blob or chainID of a layer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[Lease]:
        """Keep `keys` from being deleted during the block."""
        lease = Lease(self)
        lease.add(*keys)
        try:
            yield lease
        finally:
            lease.end()

    def held(self) -> frozenset[str]:
        """All keys that somebody holds."""
        with self._lock:
            return frozenset(self._counts)

    def unless_held(self, key: str, act: Callable[[], object]) -> bool:
        """Do `act`, quick and meant to delete `key`, if nobody holds it: no lease begins meanwhile. Whether it was."""
        with self._lock:
            if key in self._counts:
                return False
            act()
            return True

    def change(self, keys: Iterable[str], by: int) -> None:
        """Count uses up or down."""
        with self._lock:
            for key in keys:
                self._counts[key] += by
                if not self._counts[key]:
                    del self._counts[key]
