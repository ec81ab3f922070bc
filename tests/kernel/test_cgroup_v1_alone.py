"""v1 without a cgroup2 beside it: the freezer and signals must do what cgroup.freeze and cgroup.kill do elsewhere.

Not for the guest with cgroup v2: it needs the v1 hierarchies of this machine, of which it leaves out the unified one.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.cgroup.processes import Counter, Task, burn_cpu, directories, wait_until

from corten.linux.cgroup import cgroup_mounts
from corten.linux.cgroup.v1 import V1Cgroup

pytestmark = pytest.mark.root


@pytest.fixture
def path() -> str:
    return f"/corten-test-{os.getpid()}-{secrets.token_hex(4)}"


@pytest.fixture
def cgroup(path: str) -> Iterator[V1Cgroup]:
    cgroup = V1Cgroup(path, cgroup_mounts()._replace(unified=None))
    cgroup.create()
    yield cgroup
    cgroup.thaw()
    cgroup.kill()
    cgroup.remove()


@pytest.fixture
def spawn() -> Iterator[Callable[[Callable[[], int | None]], Task]]:
    tasks: list[Task] = []

    def start(work: Callable[[], int | None]) -> Task:
        tasks.append(Task(work))
        return tasks[-1]

    yield start
    for task in tasks:
        task.close()


def test_a_frozen_process_stands_still_until_thawed(cgroup: V1Cgroup, spawn):
    counter = Counter()
    task = spawn(counter.count_for_ever)
    cgroup.add(task.pid)
    task.go()
    wait_until(lambda: counter.value > 0)
    cgroup.freeze()
    assert cgroup.frozen()
    before = counter.value
    burn_cpu(0.05)
    assert counter.value == before
    cgroup.thaw()
    assert not cgroup.frozen()
    wait_until(lambda: counter.value > before)


def test_kill_ends_frozen_processes_and_nested_ones(cgroup: V1Cgroup, path: str, spawn):
    outside, inside = spawn(signal.pause), spawn(signal.pause)
    inner = V1Cgroup(path + "/inner", cgroup_mounts()._replace(unified=None))
    inner.create()
    cgroup.add(outside.pid)
    inner.add(inside.pid)
    cgroup.freeze()
    cgroup.kill()
    assert (outside.wait(), inside.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    assert not cgroup.frozen()


def test_kill_reaches_processes_that_fork_all_the_time(cgroup: V1Cgroup, path: str, spawn):
    def breed() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            if os.fork() == 0:
                os.fork()
                os._exit(0)

    cgroup.apply({"pids": {"limit": 100}})
    tasks = [spawn(breed) for _ in range(3)]
    for task in tasks:
        cgroup.add(task.pid)
        task.go()
    wait_until(lambda: len(cgroup.pids()) > 3)
    cgroup.kill()
    for task in tasks:
        task.wait()
    wait_until(lambda: cgroup.pids() == [])
    cgroup.remove()
    assert not any(os.path.exists(directory) for directory in directories(path))


def test_one_below_a_cgroup_that_another_process_has_just_begun_to_make_takes_processes(
    path: str, spawn: Callable[[Callable[[], int | None]], Task]
) -> None:
    mounts = cgroup_mounts()._replace(unified=None)
    cpuset = next(one.mountpoint for one in mounts.v1 if "cpuset" in one.controllers)
    os.mkdir(cpuset + path)  # its processors are not set yet
    child = V1Cgroup(f"{path}/child", mounts)
    child.create()
    try:
        task = spawn(signal.pause)
        child.add(task.pid)
        assert child.pids() == [task.pid]
    finally:
        child.kill()
        child.remove()
        V1Cgroup(path, mounts).remove()
