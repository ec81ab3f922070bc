"""Containers on disk: one directory with state.json below --root. Used by all verbs of the OCI command line.

Liveness is (pid, start time) from /proc/<pid>/stat, so that a recycled pid is never taken for a container. Status is
derived, never stored: the init's life, the FIFO that `start` writes to, and the freezer (runtime.md "State").
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from typing import Any

from corten.lib.atomicfile import write_atomic
from corten.linux.cgroup import Cgroup, open_cgroup
from corten.linux.process import pidfd_open
from corten.runtime.hooks import container_state

DEFAULT_ROOT = "/run/corten/oci"
_ID = re.compile(r"[A-Za-z0-9_+.-]{1,1024}")
_FIFO = "exec.fifo"


class OciError(Exception):
    """A verb failed; the text is for the person or engine that called."""


class Container:
    """One container's directory and record."""

    def __init__(self, root: str, container_id: str, record: dict[str, Any]) -> None:
        self.id = container_id
        self.directory = os.path.join(root, container_id)
        self.record = record

    @property
    def pid(self) -> int:
        """The init's pid, whether it lives or not."""
        return int(self.record["pid"])

    @property
    def spec(self) -> dict[str, Any]:
        """The config.json it was made of."""
        spec: dict[str, Any] = self.record["spec"]
        return spec

    @property
    def cgroup(self) -> Cgroup:
        """Its cgroup."""
        return open_cgroup(self.record["cgroup"])

    @property
    def fifo(self) -> str:
        """The FIFO that holds the init between create and start."""
        return os.path.join(self.directory, _FIFO)

    def alive(self) -> bool:
        """Whether the init still runs (a zombie does not)."""
        stat = process_stat(self.pid)
        return stat is not None and stat[1] == self.record["starttime"] and stat[0] not in {"Z", "X"}

    def status(self) -> str:
        """created, running, paused or stopped."""
        if not self.alive():
            return "stopped"
        if os.path.exists(self.fifo):
            return "created"
        return "paused" if self.cgroup.frozen() else "running"

    def open_init(self) -> int:
        """A pidfd of the init, certainly of it. Raises OciError when it has ended."""
        try:
            pidfd = pidfd_open(self.pid)
        except OSError as error:
            raise OciError("container not running") from error
        if not self.alive():
            os.close(pidfd)
            raise OciError("container not running")
        return pidfd

    def state(self, *, status: str = "") -> dict[str, Any]:
        """The state document that hooks get."""
        status = status or self.status()
        return container_state(
            container_id=self.id,
            status=status,
            pid=0 if status == "stopped" else self.pid,
            bundle=self.record["bundle"],
            annotations=self.spec.get("annotations"),
        )

    def save(self) -> None:
        """Write the record; it lives in /run, so it need not survive a power cut."""
        data = json.dumps(self.record).encode("utf-8", "surrogatepass")
        write_atomic(os.path.join(self.directory, "state.json"), data, durable=False)

    def remove_directory(self) -> None:
        """Forget the container."""
        shutil.rmtree(self.directory, ignore_errors=True)


def process_stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time (field 22 of /proc/<pid>/stat, proc_pid_stat(5)), or None without such a process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def check_id(container_id: str) -> str:
    """`container_id` when it may name a container. Raises OciError."""
    if not _ID.fullmatch(container_id) or container_id in {".", ".."}:
        raise OciError(f"invalid container ID format: {container_id!r}")
    return container_id


def load(root: str, container_id: str) -> Container:
    """The container of that id. Raises OciError."""
    check_id(container_id)
    try:
        with open(os.path.join(root, container_id, "state.json"), encoding="utf-8", errors="surrogatepass") as file:
            return Container(root, container_id, json.load(file))
    except FileNotFoundError as error:
        raise OciError("container does not exist") from error
    except ValueError as error:
        raise OciError(f"state.json of container {container_id} is damaged: delete it with --force") from error


def reserve(root: str, container_id: str) -> str:
    """Make the directory of a new container: its path. Raises OciError when the id is taken."""
    check_id(container_id)
    os.makedirs(root, mode=0o700, exist_ok=True)
    directory = os.path.join(root, container_id)
    try:
        os.mkdir(directory, 0o711)
    except FileExistsError as error:
        raise OciError("container with given ID already exists") from error
    return directory


def all_ids(root: str) -> list[str]:
    """Ids of all containers below `root`, also of half-made ones."""
    try:
        return sorted(name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name)))
    except FileNotFoundError:
        return []


class Lock:
    """Held while a verb changes a container, so that two verbs do not interleave. flock(2)."""

    def __init__(self, directory: str) -> None:
        self._path = directory
        self._fd = -1

    def __enter__(self) -> Lock:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise OciError("container does not exist") from error
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
