"""The OCI spec of containers, as the golden document of a plain one and what each option changes in it."""

import json
from typing import Any

import pytest

from corten.engine.containers.devices import DENY_ALL
from corten.engine.containers.namespaces import hostname_of, namespaces_of
from corten.engine.containers.oci_spec import NetworkFiles, SpecInputs, build_spec, environment
from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.engine.containers.resources import oci_resources
from corten.engine.containers.users import Identity
from corten.lib import codec
from corten.security.capabilities import DEFAULT
from corten.security.defaults import MASKED_PATHS, READONLY_PATHS
from corten.spec.docker.container import ContainerConfig
from corten.spec.docker.hostconfig import HostConfig

CID = "a" * 64


def record(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None) -> ContainerRecord:
    return ContainerRecord(
        id=CID,
        name="n",
        created_ns=1,
        image_id="sha256:i",
        chain_id="sha256:c",
        config=codec.from_plain(ContainerConfig, config or {}),
        host_config=codec.from_plain(HostConfig, {"NetworkMode": "bridge", "ShmSize": 64 << 20, **(host or {})}),
        path="/bin/sh",
        args=["-c", "true"],
    )


def spec(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    one = record(config, host)
    values: dict[str, Any] = {
        "record": one,
        "identity": Identity(),
        "capabilities": DEFAULT,
        "namespaces": namespaces_of(one.host_config, lambda _name: None),
        "cgroup_path": f"/corten/{CID}",
        "hostname": CID[:12],
        "resources": oci_resources(one.host_config, default_pids=32768),
        "device_rules": [DENY_ALL],
        "files": NetworkFiles(resolv_conf="/c/resolv.conf", hostname="/c/hostname", hosts="/c/hosts"),
        "masked_paths": MASKED_PATHS,
        "readonly_paths": READONLY_PATHS,
        **changes,
    }
    return build_spec(SpecInputs(**values))


def mounts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in document["mounts"]}


def test_a_plain_container():
    restricted = ["nosuid", "noexec", "nodev"]
    expected = {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
            "args": ["/bin/sh", "-c", "true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=aaaaaaaaaaaa"],
            "cwd": "/",
            "capabilities": {"bounding": list(DEFAULT), "effective": list(DEFAULT), "permitted": list(DEFAULT)},
            "noNewPrivileges": False,
            "oomScoreAdj": 0,
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": restricted},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*restricted, "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", *restricted]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": restricted},
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": [*restricted, "mode=1777", "size=67108864"],
            },
            *(
                {"destination": f"/etc/{name}", "type": "bind", "source": f"/c/{name}", "options": ["bind", "rprivate"]}
                for name in ("resolv.conf", "hostname", "hosts")
            ),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("mount", "uts", "ipc", "pid", "network", "cgroup", "time")],
            "cgroupsPath": f"/corten/{CID}",
            "resources": {"pids": {"limit": 32768}, "devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
        },
        "hostname": "aaaaaaaaaaaa",
    }
    assert json.loads(json.dumps(spec())) == expected


def test_other_users_have_the_bounding_set_only():
    process = spec(identity=Identity(33, 34, (34, 50)))["process"]
    assert process["user"] == {"uid": 33, "gid": 34, "additionalGids": [34, 50]}
    assert process["capabilities"] == {"bounding": list(DEFAULT), "effective": [], "permitted": []}


def test_a_terminal_has_term_and_its_size():
    process = spec({"Tty": True}, {"ConsoleSize": [24, 80]})["process"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert "TERM=xterm" in process["env"]
    assert "consoleSize" not in spec({"Tty": True}, {"ConsoleSize": [0, 0]})["process"]


def test_environment_is_replaced_appended_and_taken_away():
    assert environment(["PATH=/x", "A=1", "A=2", "HOSTNAME"], "h", tty=True) == ["PATH=/x", "TERM=xterm", "A=2"]


@pytest.mark.parametrize(
    ("host", "missing"),
    [
        ({"PidMode": "host"}, "pid"),
        ({"IpcMode": "host"}, "ipc"),
        ({"UTSMode": "host"}, "uts"),
        ({"NetworkMode": "host"}, "network"),
        ({"CgroupnsMode": "host"}, "cgroup"),
    ],
)
def test_a_namespace_of_the_host_is_absent(host, missing):
    document = spec(host=host)
    assert missing not in [entry["type"] for entry in document["linux"]["namespaces"]]
    if missing == "uts":
        assert "hostname" not in document
    if missing == "network":
        assert "sysctl" not in document["linux"]


def test_a_joined_network_gets_no_sysctls():
    document = spec(namespaces={"mount": "", "uts": "", "network": "/proc/7/ns/net"})
    assert {"type": "network", "path": "/proc/7/ns/net"} in document["linux"]["namespaces"]
    assert "sysctl" not in document["linux"]


def test_privileged_may_write_sysfs_and_cgroups():
    found = mounts(spec(host={"Privileged": True}))
    assert "rw" in found["/sys"]["options"]
    assert "rw" in found["/sys/fs/cgroup"]["options"]


def test_mounts_by_depth_and_in_place_of_the_defaults():
    own = [
        MountRecord(type="bind", source="/s/deep", destination="/data/x/y", propagation="rprivate", read_only=True),
        MountRecord(type="volume", source="/v/_data", destination="/data", propagation=""),
        MountRecord(type="tmpfs", destination="/tmp", options=("noexec", "size=1")),
        MountRecord(type="bind", source="/my/hosts", destination="/etc/hosts", propagation="rslave"),
        MountRecord(type="bind", source="/dev/shm", destination="/dev/shm", propagation="rprivate"),
    ]
    document = spec(mounts=own)
    places = [mount["destination"] for mount in document["mounts"]]
    assert places.index("/data") < places.index("/data/x/y")
    found = mounts(document)
    assert found["/etc/hosts"]["source"] == "/my/hosts"
    assert places.count("/etc/hosts") == places.count("/dev/shm") == 1
    assert found["/data/x/y"]["options"] == ["rbind", "rro", "rprivate"]
    assert found["/data"]["options"] == ["rbind", "rprivate"]
    assert found["/tmp"] == {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["noexec", "size=1"]}
    assert document["linux"]["rootfsPropagation"] == "rslave"


def test_read_only_root_annotations_and_domain():
    document = spec({"Domainname": "example.org"}, {"ReadonlyRootfs": True, "Annotations": {"a": "b"}})
    assert document["root"]["readonly"] is True
    assert document["annotations"] == {"a": "b"}
    assert document["domainname"] == "example.org"


def test_ipc_none_has_no_shared_memory_and_shareable_binds_it():
    assert "/dev/shm" not in mounts(spec(host={"IpcMode": "none"}))
    shared = mounts(spec(host={"IpcMode": "shareable"}, shm_source="/c/shm"))["/dev/shm"]
    assert shared == {"destination": "/dev/shm", "type": "bind", "source": "/c/shm", "options": ["bind", "rprivate"]}


def test_limits_as_resources():
    host = codec.from_plain(
        HostConfig,
        {
            "Memory": 64 << 20,
            "MemorySwap": -1,
            "MemoryReservation": 32 << 20,
            "MemorySwappiness": 0,
            "NanoCpus": 1_500_000_000,
            "CpuShares": 512,
            "CpusetCpus": "0",
            "PidsLimit": 0,
            "BlkioWeight": 300,
        },
    )
    assert oci_resources(host, default_pids=100) == {
        "memory": {"limit": 64 << 20, "swap": -1, "reservation": 32 << 20, "swappiness": 0},
        "cpu": {"shares": 512, "period": 100000, "quota": 150000, "cpus": "0"},
        "pids": {"limit": -1},
        "blockIO": {"weight": 300},
    }


def test_the_host_name_is_the_containers_the_hosts_or_a_part_of_the_id(monkeypatch):
    def host(**values: str) -> HostConfig:
        return codec.from_plain(HostConfig, {"NetworkMode": "bridge", **values})

    def find(_reference: str) -> Any:
        return None

    assert hostname_of(host(), "own", CID, find) == "own"
    assert hostname_of(host(), "", CID, find) == CID[:12]
    import os

    assert hostname_of(host(NetworkMode="host"), "", CID, find) == os.uname().nodename
