"""Isolation seen from inside and from outside, with Docker's defaults or stricter."""

import os
import re
from pathlib import Path

import pytest
from tests.lab.daemon import Daemon

_NAMESPACES = ["mnt", "pid", "net", "uts", "ipc", "cgroup", "time"]


def pid_of(daemon: Daemon, container: str) -> int:
    return int(daemon.inspect(container)["State"]["Pid"])


@pytest.mark.parametrize("namespace", _NAMESPACES)
def test_each_namespace_is_the_containers_own(daemon: Daemon, cid: str, namespace: str) -> None:
    outside = os.readlink(f"/proc/{pid_of(daemon, cid)}/ns/{namespace}")
    assert outside == daemon.out("exec", cid, "readlink", f"/proc/self/ns/{namespace}")
    assert outside != os.readlink(f"/proc/self/ns/{namespace}")


@pytest.mark.parametrize(
    ("flag", "namespace"),
    [
        ("--pid=host", "pid"),
        ("--uts=host", "uts"),
        ("--ipc=host", "ipc"),
        ("--network=host", "net"),
        ("--cgroupns=host", "cgroup"),
    ],
)
def test_a_host_namespace_is_shared_when_asked(daemon: Daemon, flag: str, namespace: str) -> None:
    assert daemon.out("run", "--rm", flag, "busybox", "readlink", f"/proc/self/ns/{namespace}") == os.readlink(
        f"/proc/self/ns/{namespace}"
    )


def test_another_containers_namespaces_are_shared_when_asked(daemon: Daemon) -> None:
    other = daemon.out("run", "-d", "--ipc", "shareable", "busybox", "sleep", "1000")
    for flag, namespace in (("--pid", "pid"), ("--ipc", "ipc"), ("--network", "net")):
        inside = daemon.out(
            "run", "--rm", flag, f"container:{other}", "busybox", "readlink", f"/proc/self/ns/{namespace}"
        )
        assert inside == os.readlink(f"/proc/{pid_of(daemon, other)}/ns/{namespace}")
    daemon.docker("rm", "-f", other)


def test_processes_of_the_host_are_not_seen(daemon: Daemon) -> None:
    rows = daemon.out("run", "--rm", "busybox", "ps", "-o", "pid,comm").splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["1"]


def test_the_default_capabilities_seccomp_and_privileges(daemon: Daemon) -> None:
    status = dict(
        re.findall(r"^(\w+):\t(.*)$", daemon.out("run", "--rm", "busybox", "cat", "/proc/self/status"), re.MULTILINE)
    )
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"
    assert status["Seccomp"] == "2"
    user = dict(
        re.findall(
            r"^(\w+):\t(.*)$",
            daemon.out("run", "--rm", "-u", "33", "busybox", "cat", "/proc/self/status"),
            re.MULTILINE,
        )
    )
    assert user["CapEff"] == user["CapPrm"] == "0000000000000000"
    assert user["CapBnd"] == "00000000a80425fb"


def test_exec_has_the_same_restrictions(daemon: Daemon, cid: str) -> None:
    status = dict(re.findall(r"^(\w+):\t(.*)$", daemon.out("exec", cid, "cat", "/proc/self/status"), re.MULTILINE))
    assert (status["CapEff"], status["Seccomp"]) == ("00000000a80425fb", "2")
    assert daemon.out("exec", cid, "ls", "/proc/self/fd").split() == [
        "0",
        "1",
        "2",
        "3",
    ]  # 3 is ls reading the directory


def test_no_descriptor_and_no_environment_leaks(daemon: Daemon) -> None:
    assert daemon.out("run", "--rm", "busybox", "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    names = {line.split("=")[0] for line in daemon.out("run", "--rm", "busybox", "env").splitlines()}
    assert names == {"PATH", "HOSTNAME", "HOME"}


def test_cap_add_and_drop(daemon: Daemon) -> None:
    out = daemon.out(
        "run", "--rm", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "busybox", "grep", "CapEff", "/proc/self/status"
    )
    assert int(out.split()[1], 16) == 1 << 12
    wrong = daemon.docker("run", "--rm", "--cap-add", "NOSUCH", "busybox", "true", check=False)
    assert "NOSUCH" in wrong.stderr
    assert wrong.returncode == 125


def test_masked_and_read_only_paths(daemon: Daemon) -> None:
    script = "for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do [ -e $p ] && wc -c < $p; done; ls /sys/firmware | wc -l; for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/x; do echo 1 > $p; done 2>&1 | grep -c 'Read-only\\|nonexistent\\|denied'"
    lines = daemon.out("run", "--rm", "busybox", "sh", "-c", script).split()
    assert set(lines[:-1]) == {"0"}
    assert lines[-1] == "3"


@pytest.mark.parametrize(
    "program",
    [
        "unshare -m true",
        "mount -t tmpfs none /mnt",
        "mknod /dev/sda b 8 0 && cat /dev/sda",
        "sysctl -w kernel.hostname=x",
        "chroot / umount /proc",
        "insmod /x.ko",
        "dmesg -c && dmesg -n 1",
    ],
)
def test_what_a_container_may_not_do(daemon: Daemon, program: str) -> None:
    assert daemon.docker("run", "--rm", "busybox", "sh", "-c", program, check=False).returncode != 0


def test_no_new_privileges(daemon: Daemon) -> None:
    out = daemon.out(
        "run", "--rm", "--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/self/status"
    )
    assert out.split() == ["NoNewPrivs:", "1"]


def test_seccomp_can_be_given_and_turned_off(daemon: Daemon) -> None:
    assert daemon.out(
        "run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "grep", "Seccomp:", "/proc/self/status"
    ).split() == ["Seccomp:", "0"]
    profile = daemon.root / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    result = daemon.docker("run", "--rm", "--security-opt", f"seccomp={profile}", "busybox", "mkdir", "/x", check=False)
    assert "Operation not permitted" in result.stderr


def test_mounts_are_private_and_devices_few(daemon: Daemon) -> None:
    info = daemon.out("run", "--rm", "busybox", "cat", "/proc/self/mountinfo")
    assert "shared:" not in info
    assert "master:" not in info
    nodes = daemon.out("run", "--rm", "busybox", "ls", "/dev").split()
    assert set(nodes) <= {
        "console",
        "core",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    }


def test_the_host_sees_no_mounts_of_a_running_container(daemon: Daemon, cid: str) -> None:
    assert not [line for line in open("/proc/mounts") if str(daemon.root) in line]
    assert (
        str(daemon.data_root) in Path(f"/proc/{pid_of(daemon, cid)}/mounts").read_text()
        or "overlay" in Path(f"/proc/{pid_of(daemon, cid)}/mounts").read_text()
    )


def test_privileged_lifts_the_restrictions(daemon: Daemon) -> None:
    script = "mount -t tmpfs none /tmp && grep -E 'CapEff|Seccomp:' /proc/self/status | tr -d '\\n'"
    out = daemon.out("run", "--rm", "--privileged", "busybox", "sh", "-c", script)
    own = re.search(r"CapEff:\t(\w+)", Path("/proc/self/status").read_text())
    assert own is not None
    assert own[1] in out
    assert out.endswith("Seccomp:\t0")
