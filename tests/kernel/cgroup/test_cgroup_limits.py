"""The kernel enforces what `apply` sets, on v1, hybrid and v2 alike: measured from inside the cgroup."""

from __future__ import annotations

import errno
import mmap
import os
import select
import signal
import time

import pytest
from tests.kernel.cgroup.processes import burn_cpu

from corten.errors import FailedPrecondition, InvalidArgument
from corten.linux.cgroup import Cgroup, LimitUnsupported, cgroup_mounts, open_cgroup
from corten.linux.cgroup.devices import DEFAULT_RULES

pytestmark = pytest.mark.root

MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}


def test_memory_beyond_the_limit_is_an_oom_kill_that_is_counted_and_signalled(cgroup: Cgroup, spawn):
    cgroup.apply({"memory": {"limit": 24 * MIB, "swap": 24 * MIB}})
    watch = cgroup.oom_fd()
    try:

        def eat() -> None:
            memory = mmap.mmap(-1, 200 * MIB)
            for offset in range(0, len(memory), mmap.PAGESIZE):
                memory[offset] = 1

        task = spawn(eat)
        cgroup.add(task.pid)
        assert task.run() == -signal.SIGKILL
        assert cgroup.oom_kills() >= 1
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert poll.poll(30_000)
    finally:
        os.close(watch)


def test_memory_limits_go_up_and_down_with_swap_in_either_order(cgroup: Cgroup):
    for limit, swap in ((64, 128), (256, 512), (32, 32), (300, 301), (16, 600)):
        cgroup.apply({"memory": {"limit": limit * MIB, "swap": swap * MIB, "reservation": 8 * MIB}})
        assert cgroup.stats()["memory"]["limit"] == limit * MIB
    cgroup.apply({"memory": {"limit": -1, "swap": -1}})
    assert cgroup.stats()["memory"]["limit"] is None


def test_a_limit_below_the_usage_is_refused_when_asked_to_check(cgroup: Cgroup, spawn):
    ready = os.pipe()

    def hold() -> None:
        block = b"x" * (32 * MIB)
        os.write(ready[1], block[:1])
        signal.pause()

    task = spawn(hold)
    cgroup.add(task.pid)
    task.go()
    os.read(ready[0], 1)
    with pytest.raises(FailedPrecondition, match="below the current usage"):
        cgroup.apply({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": True}})
    assert cgroup.stats()["memory"]["limit"] is None
    os.close(ready[0])
    os.close(ready[1])


def test_forks_beyond_the_pids_limit_fail(cgroup: Cgroup, spawn):
    cgroup.apply({"pids": {"limit": 5}})

    def multiply() -> int:
        children = []
        try:
            while len(children) < 20:
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                children.append(pid)
        except BlockingIOError:
            pass
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        return len(children)

    task = spawn(multiply)
    cgroup.add(task.pid)
    assert task.run() == 4


def test_a_cpu_quota_stretches_the_time_that_work_takes(cgroup: Cgroup, spawn):
    cgroup.apply({"cpu": {"quota": 5000, "period": 10000}})
    cgroup.apply({"cpu": {"quota": 20000, "period": 100000}})
    task = spawn(lambda: burn_cpu(0.25))
    cgroup.add(task.pid)
    start = time.monotonic()
    assert task.run() == 0
    # A fifth of a CPU, and a first period that may be used at once.
    assert (time.monotonic() - start) / 0.25 > 3
    throttling = cgroup.stats()["cpu"]["throttling"]
    assert throttling["throttled_periods"] > 0
    assert throttling["throttled_ns"] > 0


def test_cpu_shares_divide_a_busy_cpu(parent: str, spawn):
    tasks = []
    for name, shares in (("many", 2048), ("few", 256)):
        cgroup = open_cgroup(f"{parent}/{name}")
        cgroup.create()
        cgroup.apply({"cpu": {"shares": shares, "cpus": "0"}})
        task = spawn(lambda: burn_cpu(1.5))
        cgroup.add(task.pid)
        tasks.append((cgroup, task))
    for _, task in reversed(tasks):
        task.go()
    assert tasks[0][1].wait() == 0
    many, few = (cgroup.stats()["cpu"]["total_ns"] for cgroup, _ in tasks)
    assert many / few > 2.5  # 8 by the book; start and end are not shared


def test_a_cpuset_says_where_processes_run(cgroup: Cgroup, spawn):
    cgroup.apply({"cpu": {"cpus": "0", "mems": "0"}})
    task = spawn(lambda: 0 if os.sched_getaffinity(0) == {0} else 1)
    cgroup.add(task.pid)
    assert task.run() == 0


def _can(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags))
    except PermissionError:
        return False
    return True


def _answers(cgroup: Cgroup, spawn, expected: dict[tuple[str, int], bool]) -> None:
    task = spawn(lambda: sum(1 for (path, flags), answer in expected.items() if _can(path, flags) is not answer))
    cgroup.add(task.pid)
    assert task.run() == 0


def test_devices_are_refused_but_for_the_allowed_ones(cgroup: Cgroup, spawn, tmp_path):
    null = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    zero = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}
    cgroup.apply({"devices": [DENY_ALL, null, zero]})
    read_only = {("/dev/null", os.O_RDWR): True, ("/dev/zero", os.O_RDONLY): True, ("/dev/zero", os.O_WRONLY): False}
    _answers(cgroup, spawn, {**read_only, ("/dev/full", os.O_RDONLY): False})

    def make_node() -> int:
        try:
            os.mknod(tmp_path / "node", 0o600 | 0o020000, os.makedev(1, 3))
        except PermissionError as error:
            return error.errno or 0
        return 0

    task = spawn(make_node)
    cgroup.add(task.pid)
    assert task.run() == errno.EPERM


def test_a_changed_device_list_replaces_the_one_before(cgroup: Cgroup, spawn):
    cgroup.apply({"devices": [DENY_ALL, {"allow": True, "type": "c", "major": 1, "access": "rwm"}]})
    _answers(cgroup, spawn, {("/dev/full", os.O_RDONLY): True, ("/dev/tty", os.O_RDONLY | os.O_NOCTTY): False})
    cgroup.apply({"devices": [DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]})
    _answers(cgroup, spawn, {("/dev/null", os.O_RDONLY): True, ("/dev/full", os.O_RDONLY): False})
    cgroup.apply({"devices": [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"}]})
    rest = {("/dev/full", os.O_RDWR): True, ("/dev/zero", os.O_RDONLY): True}
    _answers(cgroup, spawn, {**rest, ("/dev/zero", os.O_WRONLY): False})


def test_the_default_devices_work_and_a_disk_does_not(cgroup: Cgroup, spawn, tmp_path):
    cgroup.apply({"devices": [DENY_ALL, *DEFAULT_RULES]})
    device = os.stat("/").st_dev
    disk = tmp_path / "disk"
    os.mknod(disk, 0o600 | 0o060000, device)
    usable = {(f"/dev/{name}", os.O_RDWR): True for name in ("null", "zero", "full", "random", "urandom", "ptmx")}
    _answers(cgroup, spawn, {**usable, (str(disk), os.O_RDONLY): False})


def test_block_writes_are_throttled(cgroup: Cgroup, spawn, tmp_path):
    device = os.stat(tmp_path).st_dev
    limit = {"major": os.major(device), "minor": os.minor(device), "rate": MIB}
    cgroup.apply({"blockIO": {"throttleWriteBpsDevice": [limit]}})

    def write() -> None:
        block = mmap.mmap(-1, 128 << 10)
        fd = os.open(tmp_path / "data", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        for _ in range(12):
            os.write(fd, block)

    task = spawn(write)
    cgroup.add(task.pid)
    start = time.monotonic()
    assert task.run() == 0
    assert time.monotonic() - start > 1.0  # 1.5 MiB at 1 MiB/s
    written = cgroup.stats()["blkio"]["io_service_bytes_recursive"]
    assert any(row["op"].lower() == "write" and row["value"] >= MIB for row in written)


def test_a_limit_that_cannot_be_enforced_is_an_error_and_sets_nothing(cgroup: Cgroup):
    with pytest.raises(LimitUnsupported, match="cannot set network class"):
        cgroup.apply({"pids": {"limit": 7}, "network": {"classID": 1048577}})
    assert cgroup.stats()["pids"]["limit"] is None


def test_a_value_the_kernel_refuses_is_named(cgroup: Cgroup):
    with pytest.raises(OSError, match="cpuset cpus") as caught:
        cgroup.apply({"cpu": {"cpus": "4000"}})
    assert caught.value.errno in (errno.EINVAL, errno.ERANGE, errno.ENOSPC)
    with pytest.raises(InvalidArgument, match="invalid resource limit limit"):
        cgroup.apply({"pids": {"limit": "many"}})


def test_unified_resources_are_for_v2(cgroup: Cgroup):
    if cgroup_mounts().mode != "v2":
        with pytest.raises(LimitUnsupported, match="unified"):
            cgroup.apply({"unified": {"pids.max": "9"}})
        return
    cgroup.apply({"unified": {"pids.max": "9", "memory.high": "1048576"}})
    assert cgroup.stats()["pids"]["limit"] == 9
    with pytest.raises(InvalidArgument):
        cgroup.apply({"unified": {"cgroup.procs": "1"}})
