"""A container's record as OCI config.json (runtime-spec 1.2): pure. What had to be looked up comes in `SpecInputs`.

Defaults are those of dockerd, stricter where that costs nobody anything: own cgroup and time namespaces, a limit on
pids. The seccomp filter is not in here: it is compiled ahead and travels as a path (StartRequest.seccomp_path).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.engine.containers.users import Identity

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_BYTES = 64 << 20
_RESTRICTED = ["nosuid", "noexec", "nodev"]
_PROC = {"destination": "/proc", "type": "proc", "source": "proc", "options": _RESTRICTED}
_DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}
_PTS = {
    "destination": "/dev/pts",
    "type": "devpts",
    "source": "devpts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
}
_MQUEUE = {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _RESTRICTED}
_PROPAGATIONS = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_NET_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFiles:
    """Files of the host that become /etc/resolv.conf, /etc/hostname and /etc/hosts; empty ones are left out."""

    resolv_conf: str = ""
    hostname: str = ""
    hosts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecInputs:
    """Everything that a spec is made of. `namespaces`: path by type, "" for a new one; a host's one is absent."""

    record: ContainerRecord
    identity: Identity
    capabilities: Sequence[str]
    namespaces: Mapping[str, str]
    cgroup_path: str
    hostname: str
    linked: Sequence[str] = ()  # variables of `--link`
    hidden_env: Sequence[str] = ()  # variables that the record does not have
    resources: Mapping[str, Any] = field(default_factory=dict)
    devices: Sequence[Mapping[str, Any]] = ()
    device_rules: Sequence[Mapping[str, Any]] = ()
    rlimits: Sequence[Mapping[str, Any]] = ()
    files: NetworkFiles = field(default_factory=NetworkFiles)
    mounts: Sequence[MountRecord] = ()
    masked_paths: Sequence[str] = ()
    readonly_paths: Sequence[str] = ()
    no_new_privileges: bool = False
    apparmor: str = ""
    shm_source: str = ""  # a directory of the host instead of a new tmpfs: shared IPC namespaces


def build_spec(inputs: SpecInputs) -> dict[str, Any]:
    """The config.json. `root.path` is not used: the shim gets a RootfsMount."""
    record = inputs.record
    host = record.host_config
    linux: dict[str, Any] = {
        "namespaces": [
            {"type": kind, "path": path} if path else {"type": kind} for kind, path in inputs.namespaces.items()
        ],
        "cgroupsPath": inputs.cgroup_path,
        "resources": {**inputs.resources, "devices": list(inputs.device_rules)},
    }
    if inputs.devices:
        linux["devices"] = list(inputs.devices)
    if inputs.masked_paths:
        linux["maskedPaths"] = list(inputs.masked_paths)
    if inputs.readonly_paths:
        linux["readonlyPaths"] = list(inputs.readonly_paths)
    sysctls = _sysctls(inputs)
    if sysctls:
        linux["sysctl"] = sysctls
    propagation = _root_propagation(inputs.mounts)
    if propagation:
        linux["rootfsPropagation"] = propagation
    spec: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": process_of(inputs),
        "root": {"path": "rootfs", "readonly": host.readonly_rootfs},
        "mounts": _mounts(inputs),
        "linux": linux,
    }
    if inputs.namespaces.get("uts") == "":
        if inputs.hostname:
            spec["hostname"] = inputs.hostname
        if record.config.domainname:
            spec["domainname"] = record.config.domainname
    if host.annotations:
        spec["annotations"] = dict(host.annotations)
    return spec


def process_of(inputs: SpecInputs) -> dict[str, Any]:
    """OCI `process`."""
    record = inputs.record
    config, host = record.config, record.host_config
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": user_of(inputs.identity),
        "args": record.argv,
        "env": environment(
            (*(config.env or ()), *inputs.hidden_env), inputs.hostname, linked=inputs.linked, tty=config.tty
        ),
        "cwd": config.working_dir or "/",
        "capabilities": capability_sets(inputs.capabilities, inputs.identity.uid),
        "noNewPrivileges": inputs.no_new_privileges,
        "oomScoreAdj": host.oom_score_adj,
    }
    size = host.console_size
    if config.tty and size and len(size) == 2 and all(0 < edge < 65536 for edge in size):
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    if inputs.rlimits:
        process["rlimits"] = list(inputs.rlimits)
    if inputs.apparmor:
        process["apparmorProfile"] = inputs.apparmor
    return process


def user_of(identity: Identity) -> dict[str, Any]:
    """OCI `process.user`."""
    return {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)}


def capability_sets(names: Sequence[str], uid: int) -> dict[str, list[str]]:
    """OCI `process.capabilities`. Other users than root only have the bounding set, as after any execve of theirs;
    inheritable and ambient are always empty (CVE-2022-24769)."""
    held = list(names)
    usable = held if uid == 0 else []
    return {"bounding": held, "effective": usable, "permitted": usable}


def environment(own: Sequence[str], hostname: str, *, linked: Sequence[str] = (), tty: bool) -> list[str]:
    """Docker's variables, those of links, and the container's, which replace them; a name without a value takes one
    away."""
    values: dict[str, str] = {"PATH": DEFAULT_PATH, "HOSTNAME": f"HOSTNAME={hostname}"}
    if tty:
        values["TERM"] = "TERM=xterm"
    for item in (*linked, *own):
        name, assigned, _value = item.partition("=")
        if assigned:
            values[name] = item
        else:
            values.pop(name, None)
    return list(values.values())


def _sysctls(inputs: SpecInputs) -> dict[str, str]:
    own = inputs.record.host_config.sysctls or {}
    if inputs.namespaces.get("network") == "" and "user" not in inputs.namespaces:
        return {**_NET_SYSCTLS, **own}
    return dict(own)


def _root_propagation(mounts: Sequence[MountRecord]) -> str:
    """The root must be shared for a shared mount in it to reach out, and a slave for one to reach in."""
    wanted = {mount.propagation for mount in mounts}
    if wanted & {"shared", "rshared"}:
        return "shared"
    if wanted & {"slave", "rslave"}:
        return "rslave"
    return ""


def _mounts(inputs: SpecInputs) -> list[dict[str, Any]]:
    host = inputs.record.host_config
    writable = "rw" if host.privileged else "ro"
    covered = {mount.destination for mount in inputs.mounts}
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_RESTRICTED, writable]}
    cgroup = {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": [writable, *_RESTRICTED],
    }
    result = [
        mount
        for mount in (_PROC, _DEV, _PTS, sysfs, cgroup, _MQUEUE, _shm(inputs))
        if mount and mount["destination"] not in covered
    ]
    files = inputs.files
    own = [
        MountRecord(type="bind", source=source, destination=destination, propagation="rprivate", recursive=False)
        for source, destination in (
            (files.resolv_conf, "/etc/resolv.conf"),
            (files.hostname, "/etc/hostname"),
            (files.hosts, "/etc/hosts"),
        )
        if source and destination not in covered
    ]
    # A mount upon a directory comes before those inside of it.
    ordered = sorted([*inputs.mounts, *own], key=lambda mount: mount.destination.count("/"))
    result += [_oci_mount(mount) for mount in ordered]
    return result


def _shm(inputs: SpecInputs) -> dict[str, Any] | None:
    if inputs.record.host_config.ipc_mode == "none":
        return None
    if inputs.shm_source:
        options = ["bind", "rprivate"]
        return {"destination": "/dev/shm", "type": "bind", "source": inputs.shm_source, "options": options}
    size = inputs.record.host_config.shm_size or DEFAULT_SHM_BYTES
    options = [*_RESTRICTED, "mode=1777", f"size={size}"]
    return {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options}


def _oci_mount(mount: MountRecord) -> dict[str, Any]:
    if mount.type == "tmpfs":
        return {
            "destination": mount.destination,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": list(mount.options),
        }
    options = ["rbind" if mount.recursive else "bind"]
    if mount.read_only:
        options.append("rro" if mount.recursive and mount.read_only_recursive else "ro")
    propagation = mount.propagation or "rprivate"
    options.append(propagation if propagation in _PROPAGATIONS else "rprivate")
    options += mount.options
    return {"destination": mount.destination, "type": "bind", "source": mount.source, "options": options}
