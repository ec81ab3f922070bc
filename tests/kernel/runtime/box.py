"""Containers for the runtime's tests: a spec as Docker writes it, and a way to run one and read what it said."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from corten.runtime.join import JoinedProcess
from corten.runtime.launch import InitProcess, LaunchRequest

CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
]
DEFAULT_MASK = 0xA80425FB
NAMESPACES = ("mount", "pid", "network", "ipc", "uts", "cgroup", "time")
MASKED = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/interrupts",
    "/sys/firmware",
    "/proc/no",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_HARD = ["nosuid", "noexec", "nodev"]
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": _HARD},
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
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_HARD, "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*_HARD, "ro"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _HARD},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*_HARD, "mode=1777", "size=67108864"]},
]


class Result(NamedTuple):
    """What a container's command left."""

    code: int
    out: str
    err: str


def make_spec(root: Path, *args: str, **process: Any) -> dict[str, Any]:
    """A config.json like Docker's for `args`; keywords go into `process`."""
    return {
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin:/sbin:/usr/bin"],
            "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            **process,
        },
        "root": {"path": str(root)},
        "hostname": "box",
        "mounts": copy.deepcopy(MOUNTS),
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def without_namespace(spec: dict[str, Any], *kinds: str) -> dict[str, Any]:
    """The spec with the host's namespaces of these kinds."""
    spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] not in kinds]
    if "uts" in kinds:
        spec["hostname"] = ""
    return spec


def with_path(spec: dict[str, Any], kind: str, path: str) -> dict[str, Any]:
    """The spec with a namespace joined by path."""
    without_namespace(spec, kind)
    spec["linux"]["namespaces"].append({"type": kind, "path": path})
    return spec


def spawn(spec: dict[str, Any]) -> InitProcess:
    """An init for the spec, waiting."""
    linux = spec["linux"]
    return InitProcess.spawn(
        namespaces=linux["namespaces"],
        uid_mappings=linux.get("uidMappings") or (),
        gid_mappings=linux.get("gidMappings") or (),
        time_offsets=linux.get("timeOffsets"),
    )


def _captured(start: Callable[[int, int], Callable[[], int]]) -> Result:
    """Run with stdout and stderr in files; `start` gets both and gives back how to wait."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = start(out.fileno(), err.fileno())()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Result(code, texts[0], texts[1])


def run(spec: dict[str, Any], *, process: InitProcess | None = None, **request: Any) -> Result:
    """Run a container to its end. Raises StartFailed."""

    def start(out: int, err: int) -> Callable[[], int]:
        child = process or spawn(spec)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            child.configure(LaunchRequest(spec=spec, container_id="test", **request), stdio=(null, out, err))
            child.wait_ready()
            child.release()
            return lambda: _wait_and_close(child)
        except BaseException:
            child.abort()
            child.close()
            raise
        finally:
            os.close(null)

    return _captured(start)


def _wait_and_close(child: InitProcess | JoinedProcess) -> int:
    try:
        return child.wait()
    finally:
        child.close()


def shell(root: Path, script: str, **process: Any) -> str:
    """What a shell script in a default container printed; it must succeed."""
    result = run(make_spec(root, "sh", "-ec", script, **process))
    assert result.code == 0, result
    return result.out


class Running:
    """A container that runs until the block ends."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.init = spawn(spec)

    def __enter__(self) -> Running:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            self.init.configure(LaunchRequest(spec=self.spec, container_id="test"), stdio=(null, null, null))
            self.init.wait_ready()
            self.init.release()
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(null)
        return self

    def __exit__(self, *_: object) -> None:
        self.init.abort()
        self.init.close()

    def exec(self, *args: str, **process: Any) -> Result:
        """Run a command in it to its end. Raises StartFailed."""
        document = {**self.spec["process"], "args": list(args), **process}

        def start(out: int, err: int) -> Callable[[], int]:
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            try:
                joined = JoinedProcess.spawn(self.init, spec=self.spec, process=document, stdio=(null, out, err))
            finally:
                os.close(null)
            return lambda: _wait_and_close(joined)

        return _captured(start)


def namespace_id(pid: int | str, kind: str) -> str:
    """The identity of a process's namespace as the kernel prints it."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")
