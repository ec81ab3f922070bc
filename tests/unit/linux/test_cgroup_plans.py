"""OCI resources become the right writes, for v1 and for v2 with its conversions; mounts and counters are read right."""

from __future__ import annotations

import pytest

from corten.errors import InvalidArgument
from corten.linux.cgroup.mounts import parse_mountinfo
from corten.linux.cgroup.plan import Group, LimitUnsupported
from corten.linux.cgroup.stats import amount, blkio_lines, flat, io_stat_lists
from corten.linux.cgroup.v1_plan import v1_plan
from corten.linux.cgroup.v2_plan import cpu_weight, io_weight, swap_max, v2_plan


def lines(plan: list[Group]) -> list[str]:
    return [" | ".join(f"{name}={value}" for name, value in write.choices) for group in plan for write in group]


def v2(resources: dict, **more: str) -> list[str]:
    return lines(v2_plan(resources, **more))


@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (1024, 100), (262144, 10000), (1 << 40, 10000), (512, 59), (2048, 174)]
)
def test_cpu_shares_become_a_weight_with_the_same_default(shares: int, weight: int):
    assert cpu_weight(shares) == weight


def test_more_shares_never_mean_less_weight():
    weights = [cpu_weight(shares) for shares in range(2, 262145, 37)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("blkio", "io"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_block_weights_are_scaled(blkio: int, io: int):
    assert io_weight(blkio) == io


@pytest.mark.parametrize(
    ("memory", "swap", "result"),
    [(100, 300, 200), (100, 100, 0), (100, -1, -1), (100, None, None), (-1, None, -1), (None, -1, -1), (100, 0, None)],
)
def test_memory_plus_swap_becomes_swap_alone(memory, swap, result):
    assert swap_max(memory, swap) == result


@pytest.mark.parametrize(("memory", "swap"), [(None, 100), (-1, 100), (200, 100)])
def test_swap_that_makes_no_sense_is_refused(memory, swap):
    with pytest.raises(InvalidArgument):
        swap_max(memory, swap)


def test_v2_memory():
    assert v2({"memory": {"limit": 1000, "swap": 1500, "reservation": 500}}) == [
        "memory.swap.max=500",
        "memory.max=1000",
        "memory.low=500",
    ]
    assert v2({"memory": {"limit": -1}}) == ["memory.swap.max=max", "memory.max=max"]


def test_v2_cpu():
    cpu = {"shares": 1024, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0-1", "mems": "0"}
    assert v2({"cpu": cpu}) == [
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "cpu.weight=100",
        "cpu.max=50000 100000",
        "cpu.max.burst=1000",
    ]
    assert v2({"cpu": {"quota": -1}}) == ["cpu.max=max"]
    assert v2({"cpu": {"period": 20000}}, cpu_max="7000 100000\n") == ["cpu.max=7000 20000"]
    assert v2({"cpu": {"shares": 500, "idle": 1}}) == ["cpu.idle=1"]


def test_v2_io_pids_hugetlb_rdma_and_unified():
    resources = {
        "pids": {"limit": -1},
        "blockIO": {
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4096}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 10}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
        "unified": {"memory.high": "100", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
    }
    assert v2(resources) == [
        "pids.max=max",
        "io.bfq.weight=500 | io.weight=default 4950",
        "io.bfq.weight=8:0 10 | io.weight=8:0 1",
        "io.max=8:0 rbps=4096",
        "io.max=8:16 wiops=10",
        "hugetlb.2MB.max=4194304",
        "hugetlb.2MB.rsvd.max=4194304",
        "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
        "memory.high=100",
        "io.max=8:0 rbps=1",
        "io.max=8:16 rbps=2",
    ]


@pytest.mark.parametrize(
    "resources",
    [
        {"cpu": {"realtimeRuntime": 1000}},
        {"memory": {"swappiness": 0}},
        {"memory": {"disableOOMKiller": True}},
        {"network": {"classID": 1}},
    ],
)
def test_what_v2_does_not_have_is_an_error(resources: dict):
    with pytest.raises(LimitUnsupported, match="cgroup v2 has n"):
        v2_plan(resources)


def test_v1_limits():
    resources = {
        "memory": {"limit": 1000, "swap": 2000, "reservation": 1, "kernel": 5, "swappiness": 0, "disableOOMKiller": True},
        "cpu": {"shares": 2, "quota": 1000, "period": 2000, "realtimeRuntime": 3, "realtimePeriod": 4, "idle": 0},
        "pids": {"limit": 10},
        "blockIO": {"weight": 10, "throttleWriteBpsDevice": [{"major": 1, "minor": 2, "rate": 3}]},
        "network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 2}]},
        "hugepageLimits": [{"pageSize": "1GB", "limit": 0}],
    }  # fmt: skip
    assert lines(v1_plan(resources)) == [
        "cpu.shares=2",
        "cpu.idle=0",
        "cpu.cfs_period_us=2000",
        "cpu.cfs_quota_us=1000",
        "cpu.rt_period_us=4",
        "cpu.rt_runtime_us=3",
        "memory.limit_in_bytes=1000",
        "memory.memsw.limit_in_bytes=2000",
        "memory.soft_limit_in_bytes=1",
        "memory.swappiness=0",
        "memory.oom_control=1",
        "pids.max=10",
        "blkio.weight=10 | blkio.bfq.weight=10",
        "blkio.throttle.write_bps_device=1:2 3",
        "hugetlb.1GB.limit_in_bytes=0",
        "hugetlb.1GB.rsvd.limit_in_bytes=0",
        "net_cls.classid=5",
        "net_prio.ifpriomap=eth0 2",
    ]


def test_absent_and_zero_mean_leave_it_alone():
    nothing = {"memory": {"limit": 0, "disableOOMKiller": False}, "cpu": {"shares": 0}, "pids": {}, "blockIO": None}
    assert v1_plan(nothing) == []
    assert v2_plan(nothing) == []


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": []},
        {"pids": {"limit": 1.5}},
        {"pids": {"limit": True}},
        {"memory": {"limit": -2}},
        {"hugepageLimits": [{"pageSize": "../x", "limit": 1}]},
        {"rdma": {"a b": {"hcaHandles": 1}}},
        {"blockIO": {"throttleReadBpsDevice": [{"rate": 5}]}},
        {"blockIO": {"weightDevice": {"major": 1}}},
        {"unified": {"../../memory.max": "1"}},
        {"unified": {"cgroup.kill": "1"}},
        {"unified": {"memory": "1"}},
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(resources: dict):
    if "unified" not in resources:
        with pytest.raises(InvalidArgument):
            v1_plan(resources)
    with pytest.raises(InvalidArgument):
        v2_plan(resources)


HYBRID = r"""
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/me\040mory rw - cgroup cgroup rw,memory,clone_children,release_agent=/x
36 31 0:32 / /elsewhere rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw master:2 propagate_from:1 - cgroup2 cgroup2 rw,nsdelegate
"""


def test_mounts_of_a_hybrid_machine():
    mounts = parse_mountinfo(HYBRID)
    assert mounts.mode == "hybrid"
    assert mounts.unified == "/sys/fs/cgroup/unified"
    assert [(one.mountpoint, one.controllers, one.name) for one in mounts.v1] == [
        ("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct"), ""),
        ("/sys/fs/cgroup/me mory", ("memory",), ""),
        ("/sys/fs/cgroup/systemd", (), "systemd"),
    ]


def test_modes_of_other_machines():
    unified = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
    named = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd"
    memory = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    assert parse_mountinfo(unified).mode == "v2"
    assert parse_mountinfo(f"{unified}\n{named}").mode == "v2"
    assert parse_mountinfo(memory).mode == "v1"
    assert parse_mountinfo("").v1 == ()


def test_counters_are_read():
    assert flat("oom_kill_disable 0\nunder_oom 0\noom_kill 3\nodd\n") == {
        "oom_kill_disable": 0,
        "under_oom": 0,
        "oom_kill": 3,
    }
    assert (amount("max\n"), amount("9223372036854771712"), amount("4096\n")) == (None, None, 4096)
    assert blkio_lines("8:0 Read 10\n8:0 Total 10\n8:16 7\nTotal 17\n") == [
        {"major": 8, "minor": 0, "op": "Read", "value": 10},
        {"major": 8, "minor": 0, "op": "Total", "value": 10},
        {"major": 8, "minor": 16, "op": "", "value": 7},
    ]
    lists = io_stat_lists("254:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0\n")
    assert lists["io_service_bytes_recursive"] == [
        {"major": 254, "minor": 0, "op": "read", "value": 5},
        {"major": 254, "minor": 0, "op": "write", "value": 6},
    ]
    assert [row["value"] for row in lists["io_serviced_recursive"]] == [1, 2]
