from __future__ import annotations

from typing import Any

import pytest

from corten.runtime.mountplan import mount_sources, uses_own_dev
from corten.runtime.plan import check_spec, check_sysctls, describe, namespace_kinds, plan_container, plan_exec

NOTHING = dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), 0)


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "ociVersion": "1.2.0",
        "process": {"args": ["sh"], "cwd": "/", "env": [], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "/rootfs"},
        "mounts": [],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]},
        **changes,
    }


def request(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "spec": document,
        "id": "c",
        "pid": 7,
        "bundle": "/b",
        "rootfs": None,
        "interfaces": [],
        "enter": [],
        "unshare": ["mount"],
        "own": ["mount", "pid", "uts"],
        "user_namespace": False,
        "keyring": "",
        "capabilities": NOTHING,
        "seccomp": None,
        "seccomp_flags": 0,
        "init": False,
        "no_pivot": False,
        "trace": False,
        **changes,
    }


def test_the_smallest_container() -> None:
    assert describe(plan_container(request(spec()))) == [
        "make a new mount namespace",
        "make all mounts rslave",
        "bind root /rootfs",
        "mount tmpfs on /dev",
        "open a private procfs",
        "pivot_root",
        "set up stdin, stdout and stderr",
        "change directory to /",
        "become user 0:0",
        "change directory to /, checked",
        "look up 'sh'",
    ]


def test_a_container_with_everything_in_order() -> None:
    hook = [{"path": "/hook"}]
    document = spec(
        hostname="box",
        hooks={"createRuntime": hook, "createContainer": hook, "startContainer": hook},
        root={"path": "/rootfs", "readonly": True},
        mounts=[
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/data", "source": "/host/data", "options": ["rbind"]},
        ],
    )
    document["process"].update(terminal=True, noNewPrivileges=True, user={"uid": 5, "gid": 6})
    document["linux"].update(
        maskedPaths=["/proc/keys"],
        readonlyPaths=["/proc/sys"],
        sysctl={"kernel.domainname": "x"},
        personality={"domain": "LINUX32"},
    )
    overlay = {"type": "overlay", "dir": "/base", "lower": ["2", "1"], "upper": "u", "work": "w"}
    steps = plan_container(
        request(
            document, rootfs=overlay, enter=["network"], unshare=["cgroup", "mount"], own=["mount"], keyring="_ses.c"
        )
    )
    assert describe(steps) == [
        "enter the network namespace",
        "make a new cgroup, mount namespace",
        "join session keyring _ses.c",
        "make all mounts rslave",
        "mount overlay of 2 layers in /base",
        "mount proc on /proc",
        "mount tmpfs on /dev",
        "bind /host/data on /data",
        "set hostname box",
        "set 1 sysctls",
        "open the terminal",
        "let the parent run the prestart and createRuntime hooks",
        "run 1 createContainer hooks",
        "make 1 paths read-only",
        "mask 1 paths",
        "make the root read-only",
        "pivot_root",
        "set personality 0x8",
        "set up stdin, stdout and stderr",
        "change directory to /",
        "become user 5:6",
        "set no_new_privs",
        "change directory to /, checked",
        "look up 'sh'",
    ]


def test_an_exec_has_no_steps_that_change_the_container() -> None:
    document = {
        "process": {"args": ["ps"], "cwd": "/tmp", "terminal": True},
        "capabilities": NOTHING,
        "keyring": "_ses.c",
    }
    assert describe(plan_exec(document)) == [
        "join session keyring _ses.c",
        "open a terminal of the container",
        "set up stdin, stdout and stderr",
        "change directory to /tmp",
        "become user 0:0",
        "change directory to /tmp, checked",
        "look up 'ps'",
    ]


def test_interfaces_are_configured_in_a_network_namespace_of_our_own_only() -> None:
    own = describe(plan_container(request(spec(), own=["network"], interfaces=[{"name": "eth0"}])))
    assert "configure interfaces lo, eth0" in own
    assert not any("interfaces" in step for step in describe(plan_container(request(spec()))))


@pytest.mark.parametrize("propagation", ["shared", "rshared"])
def test_shared_propagation_takes_the_root_out_of_the_peer_group_first(propagation: str) -> None:
    document = spec()
    document["linux"]["rootfsPropagation"] = propagation
    steps = describe(plan_container(request(document)))
    assert steps[1:4] == [
        f"make all mounts {propagation}",
        "make the mount around /rootfs private",
        "bind root /rootfs",
    ]


def test_no_pivot_moves_the_root() -> None:
    assert "move the root over / and chroot" in describe(plan_container(request(spec(), no_pivot=True)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"process": None}, "process property must not be empty"),
        ({"process": {"args": []}}, "process.args must not be empty"),
        ({"process": {"args": ["a"], "cwd": "tmp"}}, "Cwd must be an absolute path"),
        ({"linux": {"namespaces": []}}, "mount namespace"),
        (
            {"hostname": "x", "linux": {"namespaces": [{"type": "mount"}]}},
            "unable to set hostname without a private UTS namespace",
        ),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}, "duplicated ns 'mount'"),
        (
            {"linux": {"namespaces": [{"type": "mount"}], "uidMappings": [{}]}},
            "userns mappings specified, but USER namespace isn't enabled",
        ),
    ],
)
def test_specs_that_cannot_work_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_spec(spec(**change))


@pytest.mark.parametrize(
    ("key", "kinds", "text"),
    [
        ("vm.swappiness", {"mount": ""}, 'sysctl "vm.swappiness" is not in a separate kernel namespace'),
        ("kernel.core_pattern", {"mount": "", "ipc": "", "uts": ""}, "is not in a separate kernel namespace"),
        (
            "net.ipv4.ip_forward",
            {"mount": ""},
            'sysctl "net.ipv4.ip_forward" is not allowed in the hosts network namespace',
        ),
        ("net/ipv4/ip_forward", {"mount": ""}, "not allowed in the hosts network namespace"),
        ("kernel.shmmax", {"mount": ""}, "not allowed in the hosts ipc namespace"),
        ("kernel.hostname", {"uts": ""}, "kernel.hostname"),
    ],
)
def test_sysctls_of_the_host_are_refused(key: str, kinds: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_sysctls({key: "1"}, kinds)


def test_sysctls_of_the_containers_namespaces_are_allowed() -> None:
    check_sysctls(
        {"net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "1", "kernel.sem": "1", "kernel.domainname": "x"},
        {"network": "", "ipc": "", "uts": ""},
    )


def test_namespaces_by_path_are_told_from_new_ones() -> None:
    document = {"linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/x"}]}}
    assert namespace_kinds(document) == {"pid": "", "network": "/x"}


def test_sources_are_numbered_by_their_mount_and_devices_follow_in_user_namespaces() -> None:
    document = spec(
        mounts=[
            {"destination": "/proc", "type": "proc"},
            {"destination": "/a", "source": "/x", "options": ["rbind"]},
            {"destination": "/b", "type": "bind", "source": "/y"},
            {"destination": "/c", "source": "/z", "options": ["bind", "ridmap"]},
        ]
    )
    found = [
        (source.index, source.path, source.recursive, source.idmap)
        for source in mount_sources(document, user_namespace=False)
    ]
    assert found == [(1, "/x", True, False), (2, "/y", False, False), (3, "/z", False, True)]
    mapped = mount_sources(document, user_namespace=True)
    assert {source.path for source in mapped[3:]} == {
        f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")
    }


@pytest.mark.parametrize(
    ("mounts", "own"),
    [
        ([], True),
        ([{"destination": "/dev", "type": "tmpfs"}], True),
        ([{"destination": "/dev/../dev/", "type": "tmpfs"}], True),
        ([{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}], False),
    ],
)
def test_whose_dev_it_is(mounts: list[dict[str, Any]], *, own: bool) -> None:
    assert uses_own_dev(spec(mounts=mounts)) is own
