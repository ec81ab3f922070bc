"""spec and features: a config.json to start from, and what this runtime can do (features.md of the runtime-spec)."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from corten import __version__
from corten.linux.capabilities import NAMES
from corten.linux.namespaces import TYPES
from corten.linux.seccomp_load import FLAGS
from corten.runtime.hooks import KINDS
from corten.runtime.oci.state import OciError
from corten.runtime.options import ATTRIBUTE_NAMES, PROPAGATION_NAMES

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_NOT = ["nosuid", "noexec", "nodev"]


def default_spec(*, rootless: bool) -> dict[str, Any]:
    """A config.json that runs a shell, like runc's."""
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
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
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*_NOT, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _NOT},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_NOT, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*_NOT, "relatime", "ro"]},
    ]
    if not rootless:
        mounts[2]["options"].append("gid=5")
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": [
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }
    if rootless:
        linux["namespaces"] = [{"type": kind} for kind in [*kinds, "user"] if kind != "network"]
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
        del linux["resources"]
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "corten",
        "mounts": mounts,
        "linux": linux,
    }


def spec(arguments: argparse.Namespace) -> int:
    """`spec`: write config.json into the bundle."""
    path = os.path.join(arguments.bundle or ".", "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(default_spec(rootless=arguments.rootless_spec), file, indent="\t")
            file.write("\n")
    except FileExistsError:
        raise OciError("File config.json exists. Remove it first") from None
    return 0


def features(_arguments: argparse.Namespace) -> int:
    """`features`: what is supported, as JSON."""
    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": list(KINDS),
        "mountOptions": sorted([*ATTRIBUTE_NAMES, *PROPAGATION_NAMES, "bind", "rbind", "idmap", "ridmap", "tmpcopyup"]),
        "linux": {
            "namespaces": sorted(TYPES),
            "capabilities": list(NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": [
                    "SCMP_ACT_ALLOW",
                    "SCMP_ACT_ERRNO",
                    "SCMP_ACT_KILL",
                    "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD",
                    "SCMP_ACT_LOG",
                    "SCMP_ACT_TRACE",
                    "SCMP_ACT_TRAP",
                ],
                "operators": [f"SCMP_CMP_{name}" for name in ("EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE")],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(set(FLAGS) - {"SECCOMP_FILTER_FLAG_NEW_LISTENER"}),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"org.corten.version": __version__},
    }
    print(json.dumps(document, indent=2))
    return 0
