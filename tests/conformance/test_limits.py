"""Limits, enforced by the kernel."""

import json
import time

from tests.lab.daemon import Daemon


def test_memory_limit_kills_with_137_and_says_so(daemon: Daemon) -> None:
    script = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo never ${#x}"
    container = daemon.out(
        "run", "-d", "-m", "32m", "--memory-swap", "32m", "busybox", "sh", "-c", f'exec sh -c "{script}"'
    )
    assert daemon.out("wait", container) == "137"
    state = daemon.inspect(container)["State"]
    assert state["OOMKilled"] is True
    assert daemon.out("logs", container) == ""
    daemon.docker("rm", container)


def test_pids_limit_stops_a_fork_bomb(daemon: Daemon) -> None:
    script = "i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done; wait"
    result = daemon.docker("run", "--rm", "--pids-limit", "20", "busybox", "sh", "-c", script, check=False)
    assert "can't fork" in result.stderr
    assert result.returncode != 0


def test_there_is_a_pids_limit_by_default(daemon: Daemon, cid: str) -> None:
    limit = daemon.inspect(cid)["HostConfig"]["PidsLimit"]
    pid = daemon.inspect(cid)["State"]["Pid"]
    line = next(line for line in open(f"/proc/{pid}/cgroup") if ":pids:" in line or line.startswith("0::"))
    assert limit is None or limit != 0 or line


def _cpu_seconds(daemon: Daemon, container: str) -> float:
    stats = json.loads(daemon.out("exec", container, "true") or "{}")
    pid = daemon.inspect(container)["State"]["Pid"]
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    del stats
    return (int(fields[11]) + int(fields[12])) / 100


def test_cpu_quota_is_kept_as_a_ratio(daemon: Daemon) -> None:
    spin = ["busybox", "sh", "-c", "while :; do :; done"]
    container = daemon.out("run", "-d", "--cpus", "0.25", *spin)
    begin, start = _cpu_seconds(daemon, container), time.monotonic()
    time.sleep(3)
    share = (_cpu_seconds(daemon, container) - begin) / (time.monotonic() - start)
    daemon.docker("rm", "-f", container)
    assert 0.15 < share < 0.35


def test_cpu_shares_divide_a_busy_processor(daemon: Daemon) -> None:
    spin = ["--cpuset-cpus", "0", "busybox", "sh", "-c", "while :; do :; done"]
    small = daemon.out("run", "-d", "--cpu-shares", "256", *spin)
    large = daemon.out("run", "-d", "--cpu-shares", "1024", *spin)
    begin = [_cpu_seconds(daemon, small), _cpu_seconds(daemon, large)]
    time.sleep(4)
    used = [_cpu_seconds(daemon, small) - begin[0], _cpu_seconds(daemon, large) - begin[1]]
    daemon.docker("rm", "-f", small, large)
    assert 2.5 < used[1] / used[0] < 6


def test_ulimits_shm_size_sysctl_and_oom_score(daemon: Daemon) -> None:
    flags = [
        "--ulimit",
        "nofile=100:200",
        "--shm-size",
        "16m",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--oom-score-adj",
        "500",
    ]
    script = "ulimit -n; ulimit -Hn; df -k /dev/shm | tail -1 | awk '{print $2}'; cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj"
    assert daemon.out("run", "--rm", *flags, "busybox", "sh", "-c", script).split() == [
        "100",
        "200",
        "16384",
        "1",
        "500",
    ]


def test_an_impossible_limit_is_one_clear_sentence(daemon: Daemon) -> None:
    result = daemon.docker("run", "--rm", "-m", "1m", "busybox", "true", check=False)
    assert result.returncode == 125
    assert "Minimum memory limit allowed is 6MB" in result.stderr
    cpus = daemon.docker("run", "--rm", "--cpus", "1000", "busybox", "true", check=False)
    assert "Range of CPUs is from 0.01 to" in cpus.stderr


def test_devices_are_refused_unless_given(daemon: Daemon) -> None:
    assert daemon.docker("run", "--rm", "busybox", "sh", "-c", "mknod /k c 1 11 && cat /k", check=False).returncode != 0
    given = daemon.out("run", "--rm", "--device", "/dev/kmsg:/dev/mine:r", "busybox", "ls", "-l", "/dev/mine")
    assert given.startswith("c")
    rule = daemon.docker(
        "run",
        "--rm",
        "--device-cgroup-rule",
        "c 10:237 rmw",
        "busybox",
        "sh",
        "-c",
        "mknod /k c 10 237 && : < /k",
        check=False,
    )
    assert rule.returncode == 0
