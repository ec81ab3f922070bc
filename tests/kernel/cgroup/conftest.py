"""A cgroup of the test's own, and processes for it; both are gone afterwards, whatever happened."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.cgroup.processes import Task

from corten.linux.cgroup import Cgroup, open_cgroup


@pytest.fixture
def parent() -> Iterator[str]:
    """The path of a cgroup that is not made yet; with all below it removed at the end."""
    path = f"/corten-test-{os.getpid()}-{secrets.token_hex(4)}"
    yield path
    top = open_cgroup(path)
    top.thaw() if top.frozen() else None
    top.kill()
    top.remove()


@pytest.fixture
def path(parent: str) -> str:
    """The path of `cgroup`."""
    return parent + "/c"


@pytest.fixture
def cgroup(path: str) -> Cgroup:
    """A cgroup that exists."""
    cgroup = open_cgroup(path)
    cgroup.create()
    return cgroup


@pytest.fixture
def spawn() -> Iterator[Callable[[Callable[[], int | None]], Task]]:
    """Start children that wait for `go`."""
    tasks: list[Task] = []

    def start(work: Callable[[], int | None]) -> Task:
        tasks.append(Task(work))
        return tasks[-1]

    yield start
    for task in tasks:
        task.close()


@pytest.fixture
def task(spawn: Callable[[Callable[[], int | None]], Task]) -> Task:
    """A child that waits."""
    return spawn(lambda: 0)
