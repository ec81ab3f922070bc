import json

import pytest

from corten.engine.containers.merge import merge_image
from corten.engine.containers.security import UNCONFINED, SeccompFilters, parse_security_options
from corten.errors import InvalidArgument, NotFound
from corten.lib import codec
from corten.security.capabilities import DEFAULT
from corten.spec.docker.container import ContainerConfig, CreateRequest
from corten.spec.oci_image import Healthcheck, ImageConfig


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"HostConfig": {"Memory": 1 << 20}}, "Minimum memory limit allowed is 6MB"),
        ({"HostConfig": {"Memory": 8 << 20, "MemorySwap": 7 << 20}}, "Minimum memoryswap limit should be larger"),
        ({"HostConfig": {"MemorySwap": 8 << 20}}, "You should always set the Memory limit when using Memoryswap"),
        ({"HostConfig": {"NanoCpus": 5_000_000_000}}, "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs"),
        ({"HostConfig": {"NanoCpus": 1, "CpuPeriod": 1000}}, "Nano CPUs and CPU Period cannot both be set"),
        ({"HostConfig": {"CpusetCpus": "0-9"}}, "Requested CPUs are not available - requested 0-9, available: 0-3"),
        ({"HostConfig": {"CpusetCpus": "x"}}, "Invalid value x for cpuset cpus"),
        ({"HostConfig": {"BlkioWeight": 5}}, "Range of blkio weight is from 10 to 1000"),
        ({"HostConfig": {"OomScoreAdj": 2000}}, "Invalid value 2000, range for oom score adj"),
        ({"HostConfig": {"ShmSize": -1}}, "SHM size can not be less than 0"),
        ({"HostConfig": {"Runtime": "kata"}}, "unknown or invalid runtime name: kata"),
        ({"HostConfig": {"LogConfig": {"Type": "odd"}}}, "no log driver named 'odd' is registered"),
        (
            {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"x": "y"}}}},
            "unknown log opt 'x' for json-file",
        ),
        ({"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "z"}}}}, "invalid size: 'z'"),
        ({"HostConfig": {"CapAdd": ["NOSUCH"]}}, 'invalid CapAdd: unknown capability: "CAP_NOSUCH"'),
        ({"HostConfig": {"SecurityOpt": ["odd"]}}, 'invalid --security-opt 1: "odd"'),
        ({"HostConfig": {"SecurityOpt": ["odd=x"]}}, 'invalid --security-opt 2: "odd=x"'),
        ({"HostConfig": {"PidMode": "private"}}, "invalid PID mode: private"),
        ({"HostConfig": {"IpcMode": "x"}}, "invalid IPC mode: x"),
        ({"HostConfig": {"UTSMode": "host"}, "Hostname": "h"}, "conflicting options: hostname and the UTS mode"),
        ({"HostConfig": {"RestartPolicy": {"Name": "x"}}}, "unknown policy 'x'"),
        ({"HostConfig": {"Ulimits": [{"Name": "odd"}]}}, "invalid ulimit type: odd"),
        ({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}}, "ulimit soft limit must be less"),
        ({"HostConfig": {"DeviceCgroupRules": ["x"]}}, "invalid device cgroup rule format: 'x'"),
        ({"HostConfig": {"ExtraHosts": ["a\nb:1.2.3.4"]}}, "invalid host name"),
        ({"HostConfig": {"Dns": ["x"]}}, "invalid IP address: x"),
        ({"HostConfig": {"CgroupParent": "../x"}}, "invalid cgroup parent"),
        ({"HostConfig": {"DeviceRequests": [{"Driver": "gpu"}]}}, 'could not select device driver "gpu"'),
        ({"WorkingDir": "rel"}, "the working directory 'rel' is invalid, it needs to be an absolute path"),
        ({"Env": ["=x"]}, "invalid environment variable: =x"),
        ({"Env": ["A=\0"]}, "cannot contain a null byte"),
        ({"Hostname": "a b"}, "invalid hostname format"),
        ({"Hostname": "a\nb"}, "invalid hostname format"),
        ({"StopSignal": "NOPE"}, "invalid signal: NOPE"),
        ({"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Healthcheck": {"Retries": -1}}, "Retries in Healthcheck cannot be negative"),
        ({"HostConfig": {"Binds": ["/a:/b:odd"]}}, "invalid mode: odd"),
        (
            {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/no/such", "Target": "/t"}]}},
            'invalid mount config for type "bind": bind source path does not exist: /no/such',
        ),
    ],
)
async def test_what_create_refuses_and_leaves_nothing_of(engine, body, text):
    with pytest.raises(InvalidArgument, match=text.replace("(", r"\(").replace(")", r"\)")):
        await engine.create("free", **body)
    assert engine.table.rows == {}
    assert engine.snapshots.layers == set()
    assert engine.volumes.known == set()
    await engine.create("free")


async def test_empty_config_and_platform(engine):
    with pytest.raises(InvalidArgument, match="config cannot be empty in order to create a container"):
        await engine.create(Image="")
    with pytest.raises(NotFound, match="does not match the specified platform"):
        await engine.create(platform="linux/arm64")
    await engine.create(platform="linux/amd64")


async def test_null_means_default_and_an_empty_list_none(engine):
    body = {"Hostname": None, "User": None, "Env": None, "HostConfig": {"Binds": None, "MaskedPaths": [], "Init": None}}
    cid = await engine.create(**body)
    host = engine.service.find(cid).record.host_config
    assert host.masked_paths == []
    assert host.readonly_paths


def test_nulls_of_maps_are_kept_where_they_mean_something():
    raw = {"User": None, "HostConfig": {"PortBindings": {"80/tcp": None}, "Memory": None}}
    request = codec.decode(CreateRequest, json.dumps(raw).encode())
    assert request.host_config.port_bindings == {"80/tcp": None}
    with pytest.raises(InvalidArgument, match="invalid JSON"):
        codec.decode(CreateRequest, b'{"User": null, "Tty": "yes"}')
    with pytest.raises(InvalidArgument, match="invalid JSON"):
        codec.decode(CreateRequest, b'{"HostConfig": {"Memory": 99999999999999999999}}')


def merged(config: dict, **image) -> ContainerConfig:
    result = codec.from_plain(ContainerConfig, config)
    merge_image(result, ImageConfig(**image))
    return result


def test_entrypoint_and_command():
    image = {"entrypoint": ["/entry"], "cmd": ["default"]}
    assert (merged({}, **image).entrypoint, merged({}, **image).cmd) == (["/entry"], ["default"])
    assert merged({"Cmd": "one"}, **image).cmd == ["one"]
    replaced = merged({"Entrypoint": ["sh"]}, **image)
    assert (replaced.entrypoint, replaced.cmd) == (["sh"], None)
    reset = merged({"Entrypoint": [""], "Cmd": ["x"]}, **image)
    assert (reset.entrypoint, reset.cmd) == (None, ["x"])
    with pytest.raises(InvalidArgument, match="no command specified"):
        merged({})


def test_the_rest_of_the_image():
    image = {
        "cmd": ["x"],
        "user": "www",
        "working_dir": "/w",
        "env": ["A=1", "B=2"],
        "labels": {"a": "1", "b": "2"},
        "exposed_ports": {"80/tcp": {}},
        "healthcheck": Healthcheck(test=["CMD", "h"], retries=7),
    }
    own = {
        "Env": ["B=3"],
        "Labels": {"b": "3"},
        "ExposedPorts": {"90/tcp": {}},
        "Healthcheck": {"Interval": 1_000_000_000},
    }
    result = merged(own, **image)
    assert (result.user, result.working_dir) == ("www", "/w")
    assert result.env == ["B=3", "A=1"]
    assert result.labels == {"a": "1", "b": "3"}
    assert set(result.exposed_ports) == {"80/tcp", "90/tcp"}
    assert (result.healthcheck.test, result.healthcheck.retries, result.healthcheck.interval) == (
        ["CMD", "h"],
        7,
        10**9,
    )


def test_security_options():
    found = parse_security_options(
        ["no-new-privileges", "seccomp=unconfined", "label=disable", "apparmor:x", "systempaths=unconfined"]
    )
    assert (found.no_new_privileges, found.seccomp, found.apparmor) == (True, UNCONFINED, "x")
    assert found.systempaths_unconfined
    assert parse_security_options(["no-new-privileges:false"], no_new_privileges=True).no_new_privileges is False
    assert parse_security_options([], no_new_privileges=True).no_new_privileges is True


def test_seccomp_filters_are_compiled_once_and_shared(tmp_path):
    filters = SeccompFilters(tmp_path / "seccomp")
    plain = parse_security_options([])
    path = filters.path(plain, DEFAULT, tty=False)
    assert path == SeccompFilters(tmp_path / "seccomp").path(plain, DEFAULT, tty=False)
    assert filters.path(plain, DEFAULT, tty=True) != path
    assert filters.path(plain, DEFAULT, tty=False, privileged=True) == ""
    assert filters.path(parse_security_options(["seccomp=unconfined"]), DEFAULT, tty=False) == ""
    own = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    assert filters.path(parse_security_options([f"seccomp={own}"]), DEFAULT, tty=False, privileged=True).endswith(
        ".bpf"
    )
    with pytest.raises(InvalidArgument, match="Decoding seccomp profile failed"):
        filters.path(parse_security_options(["seccomp=/no/json"]), DEFAULT, tty=False)
    assert sorted(path.name for path in (tmp_path / "seccomp").iterdir()) == sorted(
        path.name for path in (tmp_path / "seccomp").glob("*.bpf")
    )
