"""No thread outlives these tests: those beside them make time namespaces, which only a process of one thread joins."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from corten.lib import blocking


@pytest.fixture(autouse=True)
def no_threads() -> Iterator[None]:
    """The pools end with each test (setns(2), EUSERS)."""
    before = set(threading.enumerate())
    yield
    blocking.shutdown()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread.name
