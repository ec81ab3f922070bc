"""The body of POST /containers/create from the options. Fields at their zero value are left out: shorter to send and
to parse, with the same meaning. Rules and texts follow Docker's client; tests compare both bodies.
"""

from __future__ import annotations

from corten.cli.errors import CliError
from corten.cli.option import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Body = dict[str, "Any"]

_HOST_TEXTS = {
    "volume-driver": "VolumeDriver",
    "ipc": "IpcMode",
    "isolation": "Isolation",
    "cgroup-parent": "CgroupParent",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "runtime": "Runtime",
    "cpu-shares": "CpuShares",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "kernel-memory": "KernelMemory",
    "cpus": "NanoCpus",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-count": "CpuCount",
    "cpu-percent": "CpuPercent",
    "io-maxiops": "IOMaximumIOps",
    "io-maxbandwidth": "IOMaximumBandwidth",
    "blkio-weight": "BlkioWeight",
    "shm-size": "ShmSize",
    "oom-score-adj": "OomScoreAdj",
    "pids-limit": "PidsLimit",
    "privileged": "Privileged",
    "publish-all": "PublishAllPorts",
    "read-only": "ReadonlyRootfs",
    "oom-kill-disable": "OomKillDisable",
    "rm": "AutoRemove",
    "dns": "Dns",
    "dns-search": "DnsSearch",
    "add-host": "ExtraHosts",
    "volumes-from": "VolumesFrom",
    "link": "Links",
    "group-add": "GroupAdd",
    "blkio-weight-device": "BlkioWeightDevice",
    "device-read-bps": "BlkioDeviceReadBps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-iops": "BlkioDeviceWriteIOps",
    "device-cgroup-rule": "DeviceCgroupRules",
    "mount": "Mounts",
    "cidfile": "ContainerIDFile",
}
_CONFIG_TEXTS = {
    "hostname": "Hostname",
    "domainname": "Domainname",
    "user": "User",
    "workdir": "WorkingDir",
    "stop-signal": "StopSignal",
    "tty": "Tty",
}
_HEALTH = (
    "no-healthcheck",
    "health-cmd",
    "health-interval",
    "health-timeout",
    "health-start-period",
    "health-start-interval",
    "health-retries",
)
_REPEATABLE_MAPS = {"annotation": "Annotations", "sysctl": "Sysctls"}


def fail(text: str) -> CliError:
    """A wrong value that is found after the flags were read: exit status 125."""
    return CliError(text, status=125, prefixed=True)


def create_body(values: Values, image: str, command: list[str]) -> Body:  # noqa: C901 - a list of cases, flat on purpose
    """The whole body; raises CliError."""
    if values["use-api-socket"]:
        raise fail("--use-api-socket is not offered: mount the engine's socket with -v")
    host: Body = {}
    config = _config(values, image, command, host)
    for name, field in _HOST_TEXTS.items():
        if values.given(name) and (value := values[name]):
            host[field] = value
    for name, field in _REPEATABLE_MAPS.items():
        if values.given(name):
            host[field] = dict(values[name])
    if values.given("dns-option") or values.given("dns-opt"):
        host["DnsOptions"] = values["dns-option"] + values["dns-opt"]
    if values.given("memory-swappiness"):
        host["MemorySwappiness"] = _swappiness(values["memory-swappiness"])
    if values.given("init"):
        host["Init"] = values["init"]
    if values.given("egress"):
        host["Egress"] = values["egress"]
    if values.given("ulimit"):
        host["Ulimits"] = sorted({limit["Name"]: limit for limit in values["ulimit"]}.values(), key=_name)
    for name, field in (("cap-add", "CapAdd"), ("cap-drop", "CapDrop")):
        if values.given(name):
            host[field] = _capabilities(values[name])
    if values.given("tmpfs"):
        host["Tmpfs"] = {path: options for path, _, options in (text.partition(":") for text in values["tmpfs"])}
    _namespaces(values, host)
    _restart(values, host)
    _volumes(values, config, host)
    _ports(values, config, host)
    if values.given("log-driver") or values.given("log-opt"):
        host["LogConfig"] = _logging(values)
    if values.given("security-opt"):
        from corten.cli.create.security import add_security_options

        add_security_options(values["security-opt"], host)
    if values.given("storage-opt"):
        host["StorageOpt"] = _storage(values["storage-opt"])
    if values.given("device") or values.given("gpus"):
        from corten.cli.create.devices import add_devices

        add_devices(values["device"], values["gpus"], host)
    endpoints = _networks(values, host)
    config["HostConfig"] = host
    if endpoints:
        config["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return config


def _config(values: Values, image: str, command: list[str], host: Body) -> Body:  # noqa: C901 - a list of cases, flat on purpose
    attached = values["attach"]
    if values["memory-swappiness"] != -1:
        _swappiness(values["memory-swappiness"])
    stdin = values["interactive"]
    config: Body = {
        "Image": image,
        "AttachStdin": stdin or "stdin" in attached,
        "AttachStdout": not attached or "stdout" in attached,
        "AttachStderr": not attached or "stderr" in attached,
    }
    for name, field in _CONFIG_TEXTS.items():
        if values.given(name) and values[name]:
            config[field] = values[name]
    if command:
        config["Cmd"] = command
    if values.given("entrypoint"):
        config["Entrypoint"] = [values["entrypoint"]]
    if stdin:
        config["OpenStdin"] = config["StdinOnce"] = True
    if values.given("stop-timeout"):
        config["StopTimeout"] = values["stop-timeout"]
    if values.given("env") or values.given("env-file"):
        from corten.cli.create.env_files import environment

        config["Env"] = environment(values["env-file"], values["env"])
    if values.given("label") or values.given("label-file"):
        from corten.cli.create.env_files import labels

        config["Labels"] = labels(values["label-file"], values["label"])
    if any(values.given(name) for name in _HEALTH):
        from corten.cli.create.health import health_check

        if check := health_check(values):
            config["Healthcheck"] = check
    if values["tty"] and (size := _terminal_size()):
        host["ConsoleSize"] = size
    return config


def _name(limit: Body) -> str:
    return str(limit["Name"])


def _capabilities(names: list[str]) -> list[str]:
    """Upper case and with CAP_, each once, in order."""
    upper = [name.strip().upper() for name in names]
    return sorted({name if name in ("ALL", "RESET") or name.startswith("CAP_") else f"CAP_{name}" for name in upper})


def _terminal_size() -> list[int]:
    import os

    try:
        size = os.get_terminal_size(1)
    except OSError:
        return []
    return [size.lines, size.columns]


def _swappiness(value: int) -> int:
    if value != -1 and not 0 <= value <= 100:
        raise fail(f"invalid value: {value}. Valid memory swappiness range is 0-100")
    return value


def _namespaces(values: Values, host: Body) -> None:
    pid, uts, user, cgroup = values["pid"], values["uts"], values["userns"], values["cgroupns"]
    if pid and not (pid == "host" or (pid.startswith("container:") and pid != "container:")):
        raise fail("--pid: invalid PID mode")
    if uts not in ("", "host"):
        raise fail("--uts: invalid UTS mode")
    if user not in ("", "host"):
        raise fail("--userns: invalid USER mode")
    if cgroup not in ("", "host", "private"):
        raise fail("--cgroupns: invalid CGROUP mode")
    for field, value in (("PidMode", pid), ("UTSMode", uts), ("UsernsMode", user), ("CgroupnsMode", cgroup)):
        if value:
            host[field] = value


def restart_policy(text: str) -> Body:
    """`on-failure:3`; raises CliError."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise fail("invalid restart policy format: no policy provided before colon")
    if colon:
        try:
            return {"Name": name, "MaximumRetryCount": int(count)}
        except ValueError:
            raise fail("invalid restart policy format: maximum retry count must be an integer") from None
    return {"Name": name, "MaximumRetryCount": 0}


def _restart(values: Values, host: Body) -> None:
    policy = restart_policy(values["restart"])
    if values["rm"] and policy["Name"] not in ("", "no"):
        raise fail("conflicting options: cannot specify both --restart and --rm")
    host["RestartPolicy"] = policy


def _volumes(values: Values, config: Body, host: Body) -> None:
    if not values.given("volume"):
        return
    from corten.cli.create.volumes import split_volumes

    binds, anonymous = split_volumes(values["volume"])
    if binds:
        host["Binds"] = binds
    if anonymous:
        config["Volumes"] = {path: {} for path in anonymous}


def _ports(values: Values, config: Body, host: Body) -> None:
    if not (values.given("publish") or values.given("expose")):
        return
    from corten.cli.create.ports import exposed_ports, published_ports

    exposed, bindings = published_ports(values["publish"])
    exposed.update(exposed_ports(values["expose"]))
    config["ExposedPorts"] = exposed
    if bindings:
        host["PortBindings"] = bindings


def _logging(values: Values) -> Body:
    driver, options = values["log-driver"], values["log-opt"]
    if driver == "none" and options:
        raise fail(f"invalid logging opts for driver {driver}")
    return {"Type": driver, "Config": {name: value for name, _, value in (text.partition("=") for text in options)}}


def _storage(texts: list[str]) -> dict[str, str]:
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise fail("invalid storage option")
        options[name] = value
    return options


_NETWORK_OPTIONS = ("network", "net", "network-alias", "net-alias", "ip", "ip6", "link-local-ip", "mac-address")


def _networks(values: Values, host: Body) -> Body:
    if not any(values.given(name) for name in _NETWORK_OPTIONS):
        host["NetworkMode"] = "default"
        return {}
    from corten.cli.create.networks import endpoints

    mode, found = endpoints(values)
    host["NetworkMode"] = mode
    return found
