"""Processes that join a container, and that the container cannot get hold of on their way in."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.runtime.box import DEFAULT_MASK, NAMESPACES, Running, make_spec, namespace_id, without_namespace

from corten.linux.cgroup import Cgroup, open_cgroup
from corten.linux.process import is_dumpable
from corten.runtime.join import JoinedProcess
from corten.runtime.launch import StartFailed


@pytest.fixture
def sleeping(busybox_root: Path) -> dict[str, object]:
    """The spec of a container that does nothing."""
    return make_spec(busybox_root, "sleep", "1000")


def test_an_exec_is_in_all_namespaces_of_the_container(sleeping: dict[str, object]) -> None:
    kinds = [{"mount": "mnt", "network": "net"}.get(kind, kind) for kind in NAMESPACES]
    with Running(sleeping) as box:
        result = box.exec("sh", "-c", f"for k in {' '.join(kinds)}; do readlink /proc/self/ns/$k; done")
        assert result.out.split() == [namespace_id(box.init.pid, kind) for kind in kinds]


def test_an_exec_is_our_own_child_and_inside_has_a_small_pid(sleeping: dict[str, object]) -> None:
    with Running(sleeping) as box:
        result = box.exec("sh", "-c", "echo $$ $PPID")
        assert result.code == 0
        pid, parent = map(int, result.out.split())
        assert 1 < pid < 100
        assert parent == 0
    assert namespace_id("self", "pid_for_children") == namespace_id("self", "pid")


def test_an_exec_has_the_capabilities_user_directory_and_environment_it_was_given(sleeping: dict[str, object]) -> None:
    with Running(sleeping) as box:
        status = box.exec("cat", "/proc/self/status").out
        assert int(status.split("CapEff:")[1].split()[0], 16) == DEFAULT_MASK
        result = box.exec(
            "sh", "-c", "id -u; id -g; pwd; echo $A", user={"uid": 3, "gid": 4}, cwd="/tmp", env=["A=b", "PATH=/bin"]
        )
        assert result.out.split() == ["3", "4", "/tmp", "b"]


def test_an_exec_has_the_containers_seccomp_filter(sleeping: dict[str, object]) -> None:
    sleeping["linux"]["seccomp"] = {  # type: ignore[index]
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
    }
    with Running(sleeping) as box:
        assert "Invalid cross-device link" in box.exec("mkdir", "/tmp/x").err


@pytest.mark.parametrize(
    ("process", "text"),
    [
        ({"args": ["nosuch"]}, 'exec: "nosuch": executable file not found in $PATH'),
        ({"args": ["/etc/passwd"]}, 'exec: "/etc/passwd": permission denied'),
        (
            {"args": ["true"], "cwd": "/nope"},
            'chdir to cwd ("/nope") set in config.json failed: no such file or directory',
        ),
        ({"args": ["/proc/self/exe"]}, 'exec: "/proc/self/exe": permission denied'),
    ],
)
def test_a_failed_exec_says_why_and_leaves_the_container_alone(
    sleeping: dict[str, object], process: dict[str, object], text: str
) -> None:
    with Running(sleeping) as box:
        with pytest.raises(StartFailed) as caught:
            JoinedProcess.spawn(
                box.init,
                spec=sleeping,
                process={**sleeping["process"], **process},  # type: ignore[dict-item]
                stdio=(0, 1, 2),
            )
        assert caught.value.text == text
        assert box.exec("true").code == 0


def test_an_exec_into_a_container_that_has_ended_fails(sleeping: dict[str, object]) -> None:
    with Running(sleeping) as box:
        box.init.signal(9)
        box.init.wait()
        with pytest.raises(StartFailed) as caught:
            box.exec("true")
        assert caught.value.stage == "spawn"


def test_a_terminal_comes_from_the_containers_devpts(sleeping: dict[str, object]) -> None:
    with Running(sleeping) as box:
        process = {**sleeping["process"], "args": ["sh", "-c", "tty; stty size; echo >/dev/tty ok"], "terminal": True}  # type: ignore[dict-item]
        process["consoleSize"] = {"width": 80, "height": 20}
        joined = JoinedProcess.spawn(box.init, spec=sleeping, process=process, stdio=None)
        try:
            assert joined.wait() == 0
            seen = b""
            poll = select.poll()
            poll.register(joined.console, select.POLLIN)
            while poll.poll(0)[0][1] & select.POLLIN:
                seen += os.read(joined.console, 4096)
            assert seen.decode().split() == ["/dev/pts/0", "20", "80", "ok"]
        finally:
            os.close(joined.console)
            joined.close()


def test_a_fake_devpts_gets_no_terminal(sleeping: dict[str, object]) -> None:
    """A container that puts something else on /dev/pts (CVE-2025-52565 from the other side)."""
    sleeping["process"]["capabilities"] = {  # type: ignore[index]
        name: ["CAP_SYS_ADMIN", "CAP_MKNOD"] for name in ("bounding", "effective", "permitted")
    }
    with Running(sleeping) as box:
        assert box.exec("sh", "-c", "mount -t tmpfs x /dev/pts && mknod /dev/pts/ptmx c 1 3").code == 0
        process = {**sleeping["process"], "args": ["tty"], "terminal": True}  # type: ignore[dict-item]
        with pytest.raises(StartFailed, match="not a devpts file system"):
            JoinedProcess.spawn(box.init, spec=sleeping, process=process, stdio=None)


def test_a_fake_ptmx_on_a_real_devpts_gets_no_terminal(sleeping: dict[str, object]) -> None:
    sleeping["process"]["capabilities"] = {  # type: ignore[index]
        name: ["CAP_SYS_ADMIN", "CAP_MKNOD"] for name in ("bounding", "effective", "permitted")
    }
    with Running(sleeping) as box:
        assert box.exec("mount", "--bind", "/dev/zero", "/dev/pts/ptmx").code == 0
        process = {**sleeping["process"], "args": ["tty"], "terminal": True}  # type: ignore[dict-item]
        with pytest.raises(StartFailed, match="cross-device"):
            JoinedProcess.spawn(box.init, spec=sleeping, process=process, stdio=None)


def test_the_container_cannot_look_into_a_process_that_is_joining(sleeping: dict[str, object]) -> None:
    """CVE-2016-9962: it is visible, and nothing in it is."""
    with Running(sleeping) as box:
        joined = JoinedProcess.clone(box.init, spec=sleeping)
        try:
            script = (
                "for p in /proc/[0-9]*; do grep -q corten $p/comm || continue; echo seen;"
                "readlink $p/exe; readlink $p/cwd; readlink $p/root; readlink $p/fd/0; head -c1 $p/environ; head -c1 $p/mem;"
                "done"
            )
            result = box.exec("sh", "-c", script)
            assert result.out == "seen\n", result
        finally:
            joined.abort()
            joined.close()


def test_our_own_dumpability_is_as_before(sleeping: dict[str, object]) -> None:
    before = is_dumpable()
    with Running(sleeping) as box:
        box.exec("true")
    assert is_dumpable() == before


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup of the test's own."""
    made = open_cgroup(f"/corten-test-exec-{os.getpid()}")
    made.create()
    yield made
    made.kill()
    made.remove()


def test_an_exec_sits_in_the_containers_cgroup_before_it_runs(sleeping: dict[str, object], cgroup: Cgroup) -> None:
    with Running(sleeping) as box:
        joined = JoinedProcess.clone(box.init, spec=sleeping, cgroup=cgroup)
        try:
            assert cgroup.pids() == [joined.pid]
        finally:
            joined.abort()
            joined.close()


def test_an_exec_without_a_pid_namespace_of_the_containers_own(busybox_root: Path) -> None:
    spec = without_namespace(make_spec(busybox_root, "sleep", "1000"), "pid")
    with Running(spec) as box:
        assert box.exec("readlink", "/proc/self/ns/pid").out.strip() == namespace_id("self", "pid")
