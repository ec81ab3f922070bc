"""A container's cgroup is made, filled, frozen, killed and removed, on v1, hybrid and v2 alike."""

from __future__ import annotations

import os
import signal
import stat

import pytest
from tests.kernel.cgroup.processes import Counter, Task, burn_cpu, directories, wait_until

from corten.errors import InvalidArgument
from corten.linux.cgroup import Cgroup, cgroup_mounts, open_cgroup

pytestmark = pytest.mark.root


def test_create_makes_a_directory_in_every_hierarchy_and_may_be_repeated(parent: str):
    cgroup = open_cgroup(f"{parent}/a/b")
    assert not cgroup.exists()
    cgroup.create()
    cgroup.create()
    assert cgroup.exists()
    assert all(os.path.isdir(directory) for directory in directories(f"{parent}/a/b"))


def test_a_failing_create_leaves_nothing(parent: str):
    # cgroup.procs is a file in each cgroup, so that nothing can be made below it: after the levels above exist.
    with pytest.raises(NotADirectoryError):
        open_cgroup(f"{parent}/x/cgroup.procs/y").create()
    assert not any(os.path.exists(directory) for directory in directories(parent))


@pytest.mark.parametrize("path", ["", "/", "..", "/a/../b", "/a\nb", "/" + "a" * 300])
def test_a_path_outside_or_with_strange_parts_is_refused(path: str):
    with pytest.raises(InvalidArgument, match="invalid cgroupsPath"):
        open_cgroup(path)


def test_add_moves_a_process_in_all_hierarchies(cgroup: Cgroup, path: str, task: Task):
    cgroup.add(task.pid)
    cgroup.add(task.pid)
    with open(f"/proc/{task.pid}/cgroup") as file:
        inside = [line.strip().split(":", 2)[2] for line in file if ":name=" not in line or "systemd" in line]
    assert set(inside) == {path}
    assert cgroup.pids() == [task.pid]


def test_a_clone_fd_is_a_directory_on_v2_and_absent_on_v1(cgroup: Cgroup, path: str):
    fd = cgroup.clone_fd()
    if cgroup_mounts().mode != "v2":
        assert fd is None
        return
    assert fd is not None
    try:
        assert stat.S_ISDIR(os.fstat(fd).st_mode)
        assert os.readlink(f"/proc/self/fd/{fd}").endswith(path)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_processes_in_cgroups_that_the_container_made_are_listed_killed_and_removed(cgroup: Cgroup, path: str, spawn):
    outside, inside = spawn(signal.pause), spawn(signal.pause)
    cgroup.add(outside.pid)
    for directory in directories(path + "/inner/most"):
        os.makedirs(directory)
        with open(directory + "/cgroup.procs", "w") as procs:
            procs.write(str(inside.pid))
    assert sorted(cgroup.pids()) == sorted([outside.pid, inside.pid])
    cgroup.kill()
    assert (outside.wait(), inside.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    cgroup.remove()
    assert not any(os.path.exists(directory) for directory in directories(path))


def test_a_process_joins_a_container_that_handed_its_controllers_down(cgroup: Cgroup, path: str, spawn):
    first, second = spawn(signal.pause), spawn(signal.pause)
    inner = open_cgroup(path + "/inner")
    inner.create()
    inner.add(first.pid)
    cgroup.add(second.pid)
    assert sorted(cgroup.pids()) == sorted([first.pid, second.pid])
    fd = cgroup.clone_fd()
    if fd is not None:  # v2: processes may live in leaves only
        assert os.readlink(f"/proc/self/fd/{fd}").endswith(path + "/inner")
        os.close(fd)


def test_kill_reaches_a_process_that_forks_all_the_time(cgroup: Cgroup, spawn):
    def multiply() -> None:
        for _ in range(3):
            os.fork()
        signal.pause()

    task = spawn(multiply)
    cgroup.add(task.pid)
    task.go()
    wait_until(lambda: len(cgroup.pids()) == 8)
    cgroup.kill()
    assert task.wait() == -signal.SIGKILL
    cgroup.remove()
    assert not cgroup.exists()


def test_remove_of_a_removed_cgroup_is_quiet(cgroup: Cgroup):
    cgroup.remove()
    cgroup.remove()
    assert cgroup.pids() == []


def test_a_frozen_process_stands_still_until_thawed(cgroup: Cgroup, spawn):
    counter = Counter()
    task = spawn(counter.count_for_ever)
    cgroup.add(task.pid)
    task.go()
    wait_until(lambda: counter.value > 0)
    assert not cgroup.frozen()
    cgroup.freeze()
    assert cgroup.frozen()
    before = counter.value
    burn_cpu(0.05)
    assert counter.value == before
    cgroup.thaw()
    assert not cgroup.frozen()
    wait_until(lambda: counter.value > before)


def test_kill_ends_frozen_processes(cgroup: Cgroup, task: Task):
    cgroup.add(task.pid)
    cgroup.freeze()
    cgroup.kill()
    assert task.wait() == -signal.SIGKILL


def test_stats_tell_what_a_process_used(cgroup: Cgroup, spawn):
    cgroup.apply({"pids": {"limit": 50}, "memory": {"limit": 64 << 20, "swap": 64 << 20}})
    held = 8 << 20

    def work() -> None:
        block = bytearray(os.urandom(1)) * held
        burn_cpu(0.2)
        os.write(ready[1], block[:1])
        signal.pause()

    ready = os.pipe()
    task = spawn(work)
    cgroup.add(task.pid)
    task.go()
    os.read(ready[0], 1)
    stats = cgroup.stats()
    assert stats["cpu"]["total_ns"] >= 150_000_000
    assert stats["cpu"]["total_ns"] >= stats["cpu"]["user_ns"] > 0
    assert held <= stats["memory"]["usage"] <= 64 << 20 == stats["memory"]["limit"]
    assert stats["memory"]["stats"]["inactive_file"] >= 0
    assert stats["pids"] == {"current": 1, "limit": 50}
    assert cgroup.oom_kills() == 0
    os.close(ready[0])
    os.close(ready[1])
