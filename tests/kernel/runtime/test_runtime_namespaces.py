"""Each namespace, seen from inside and outside: new, the host's, by path."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from tests.kernel.runtime.box import (
    NAMESPACES,
    Running,
    make_spec,
    namespace_id,
    run,
    shell,
    spawn,
    with_path,
    without_namespace,
)

from corten.runtime.launch import InitProcess, LaunchRequest, StartFailed

FILES = {"mount": "mnt", "network": "net"}
KINDS = [(kind, FILES.get(kind, kind)) for kind in NAMESPACES]


@pytest.mark.parametrize(("kind", "file"), KINDS)
def test_a_named_namespace_is_new_for_the_container_and_the_host_keeps_its_own(
    busybox_root: Path, kind: str, file: str
) -> None:
    before = namespace_id("self", file)
    with Running(make_spec(busybox_root, "sleep", "1000")) as box:
        outside = namespace_id(box.init.pid, file)
        inside = box.exec("readlink", f"/proc/1/ns/{file}").out.strip()
    assert inside == outside != before
    assert namespace_id("self", file) == before


@pytest.mark.parametrize(("kind", "file"), [entry for entry in KINDS if entry[0] != "mount"])
def test_a_namespace_that_is_not_named_is_the_hosts(busybox_root: Path, kind: str, file: str) -> None:
    spec = without_namespace(make_spec(busybox_root, "readlink", f"/proc/self/ns/{file}"), kind)
    assert run(spec).out.strip() == namespace_id("self", file)


@pytest.mark.parametrize(("kind", "file"), [entry for entry in KINDS if entry[0] != "mount"])
def test_a_namespace_by_path_is_that_of_the_other_container(busybox_root: Path, kind: str, file: str) -> None:
    with Running(make_spec(busybox_root, "sleep", "1000")) as box:
        expected = namespace_id(box.init.pid, file)
        spec = with_path(
            make_spec(busybox_root, "readlink", f"/proc/self/ns/{file}"), kind, f"/proc/{box.init.pid}/ns/{file}"
        )
        if kind == "uts":
            spec["hostname"] = ""
        assert run(spec).out.strip() == expected


def test_an_init_made_ahead_leaves_the_namespaces_that_its_container_does_not_want(busybox_root: Path) -> None:
    kinds = ("network", "uts", "ipc", "time")
    process = spawn(make_spec(busybox_root))
    script = "for kind in net uts ipc time; do readlink /proc/self/ns/$kind; done"
    spec = without_namespace(make_spec(busybox_root, "sh", "-c", script), *kinds)
    expected = [namespace_id("self", kind) for kind in ("net", "uts", "ipc", "time")]
    try:
        assert run(spec, process=process).out.split() == expected
    finally:
        process.close()


def test_an_init_cannot_leave_its_pid_namespace(busybox_root: Path) -> None:
    process = spawn(make_spec(busybox_root))
    with pytest.raises(StartFailed, match="pid namespace was settled"):
        run(without_namespace(make_spec(busybox_root, "true"), "pid"), process=process)
    assert process.returncode in {1, 137}  # it ends by itself when its parent lets go, or is killed


def test_the_command_is_process_one_and_sees_no_other(busybox_root: Path) -> None:
    assert shell(busybox_root, "echo $$; echo /proc/[0-9]*").split() == ["1", "/proc/1"]


def test_hostname_and_domainname_are_set_inside_only(busybox_root: Path) -> None:
    before = socket.gethostname()
    spec = make_spec(busybox_root, "sh", "-c", "hostname; cat /proc/sys/kernel/domainname")
    spec["domainname"] = "example.org"
    assert run(spec).out.split() == ["box", "example.org"]
    assert socket.gethostname() == before


def test_a_new_network_has_loopback_up_and_nothing_else(busybox_root: Path) -> None:
    assert shell(busybox_root, "ls /sys/class/net; ip -4 addr show lo | grep -c 'inet 127.0.0.1/8'").split() == [
        "lo",
        "1",
    ]


def test_a_cgroup_namespace_shows_the_containers_cgroup_as_root(busybox_root: Path) -> None:
    paths = {line.split(":", 2)[2] for line in shell(busybox_root, "cat /proc/self/cgroup").splitlines()}
    assert paths == {"/"}


def test_time_offsets_move_the_containers_clock_only(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "cat", "/proc/uptime")
    spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 1_000_000}}
    before = namespace_id("self", "time_for_children")
    inside = float(run(spec).out.split()[0])
    assert 1_000_000 <= inside - time.clock_gettime(time.CLOCK_BOOTTIME) + 60 < 1_000_120
    assert namespace_id("self", "time_for_children") == before


def test_a_user_namespace_maps_root_to_an_ordinary_user(busybox_root: Path) -> None:
    for path in [busybox_root, *busybox_root.rglob("*")]:
        os.chown(path, 100000, 100000, follow_symlinks=False)
    os.chmod(busybox_root.parent, 0o700)  # the mapped root cannot get there by itself
    script = "id -u; cat /proc/self/uid_map; echo x >/dev/null; stat -c %t,%T /dev/null; touch /mine; ls /proc/1/fd; sleep 1000"
    spec = make_spec(busybox_root, "sh", "-ec", script)
    spec["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["linux"].update(uidMappings=mapping, gidMappings=mapping)
    spec["process"]["args"] = ["sh", "-ec", script.removesuffix("sleep 1000")]
    result = run(spec)
    lines = result.out.split()
    assert result.code == 0, result
    assert lines[:4] == ["0", "0", "100000", "65536"]
    assert lines[4] == "1,3"
    assert (busybox_root / "mine").stat().st_uid == 100000

    spec["process"]["args"] = ["sleep", "1000"]
    with Running(spec) as box:
        assert os.stat(f"/proc/{box.init.pid}").st_uid == 100000
        assert box.exec("id", "-u").out.strip() == "0"
        assert box.exec("readlink", "/proc/self/ns/user").out.strip() == namespace_id(box.init.pid, "user")
        assert namespace_id(box.init.pid, "user") != namespace_id("self", "user")


def test_a_user_namespace_by_path_owns_what_is_made_in_it(busybox_root: Path) -> None:
    for path in [busybox_root, *busybox_root.rglob("*")]:
        os.chown(path, 100000, 100000, follow_symlinks=False)
    spec = make_spec(busybox_root, "sleep", "1000")
    spec["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["linux"].update(uidMappings=mapping, gidMappings=mapping)
    with Running(spec) as box:
        other = make_spec(busybox_root, "sh", "-ec", "hostname owned; id -u; readlink /proc/self/ns/user; touch /other")
        other["process"]["capabilities"] = {
            name: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for name in ("bounding", "effective", "permitted")
        }
        other["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{box.init.pid}/ns/user"})
        result = run(other)
        assert result.out.split() == ["0", namespace_id(box.init.pid, "user")], result
    assert (busybox_root / "other").stat().st_uid == 100000


def test_a_user_namespace_that_is_not_there_is_an_error(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "true")
    for path in ("/nonexistent", "/proc/self/ns/user", "/etc/passwd"):
        spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "user", "path": path}]
        with pytest.raises(StartFailed, match="unable to create the container's namespaces"):
            spawn(spec)


def test_an_unknown_namespace_type_is_refused() -> None:
    with pytest.raises(StartFailed, match="unknown namespace type galaxy"):
        InitProcess.spawn(namespaces=[{"type": "galaxy"}])


def test_a_container_without_mount_namespace_is_refused(busybox_root: Path) -> None:
    with pytest.raises(StartFailed, match="mount namespace"):
        run(without_namespace(make_spec(busybox_root, "true"), "mount"))


def test_what_is_prepared_ahead_is_used_and_looks_the_same(busybox_root: Path) -> None:
    script = "cut -d' ' -f4- /proc/self/mountinfo | sort; ls -l /dev | tr -s ' ' | cut -d' ' -f1,3-6,10-; cat /proc/self/cgroup"
    spec = make_spec(busybox_root, "sh", "-c", script)
    plain = run(spec).out
    process = spawn(spec)
    try:
        process.prepare(LaunchRequest(spec=make_spec(busybox_root, "other")))
        prepared = run(spec, process=process).out
    finally:
        process.close()

    def comparable(text: str) -> list[str]:
        return [line for line in text.splitlines() if "0:" not in line or not line.startswith("/")]

    assert comparable(prepared) == comparable(plain)


def test_a_prepared_init_may_still_become_a_container_with_host_namespaces(busybox_root: Path) -> None:
    process = spawn(make_spec(busybox_root))
    script = "for kind in net cgroup; do readlink /proc/self/ns/$kind; done; ls /sys/class/net"
    spec = without_namespace(make_spec(busybox_root, "sh", "-c", script), "network", "cgroup")
    try:
        process.prepare(LaunchRequest(spec=make_spec(busybox_root, "other")))
        lines = run(spec, process=process).out.split()
    finally:
        process.close()
    assert lines[:2] == [namespace_id("self", "net"), namespace_id("self", "cgroup")]
    assert set(lines[2:]) == set(os.listdir("/sys/class/net"))


def test_a_network_that_was_prepared_for_another_container_is_left_for_a_new_one(busybox_root: Path) -> None:
    process = spawn(make_spec(busybox_root))
    prepared = namespace_id(process.pid, "net")
    spec = make_spec(
        busybox_root, "sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net; cat /proc/net/dev | wc -l"
    )
    plain = run(spec).out.split()
    try:
        process.prepare(LaunchRequest(spec=make_spec(busybox_root, "other")))
        found = run(spec, process=process, renew_network=True).out.split()
    finally:
        process.close()
    assert found[0] not in {prepared, namespace_id("self", "net")}
    assert found[1:] == plain[1:]
    assert "lo" in found
