"""What a step of the start is, and what steps share. Runs in init (or in a process that joins a container).

A step is planned from the spec (see runtime/plan.py), says what it will do (`describe`), and does it (`run`); what it
can do before its container is known, it does in `prepare`. Its failure becomes a StartFailed with runc's words. Steps
hold plain data; what is found on the way is in the Context.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from corten.runtime.channel import Channel
from corten.runtime.failure import StartFailed

# Until init says "ready", runc puts these words before every text; later steps go without.
INIT_PREFIX = "error during container init: "


class Context:
    """What steps hand on to one another within one process."""

    __slots__ = (
        "channel",
        "chdir_pending",
        "console",
        "dev_fd",
        "devpts_fd",
        "environment",
        "executable",
        "fds",
        "final_capset",
        "namespace_fds",
        "netlink",
        "own_executable",
        "prepared",
        "prepared_namespaces",
        "proc_fd",
        "request",
        "root_fd",
        "sources",
        "stdio",
    )

    def __init__(self, channel: Channel, request: Mapping[str, Any], fds: Mapping[str, int]) -> None:
        self.channel = channel
        self.prepared: dict[Any, Any] = {}  # what `prepare` made, by a key of the step's choosing
        self.prepared_namespaces: set[str] = set()
        self.request = request
        self.own_executable = (-1, -1)  # device and inode of the interpreter's file
        self.root_fd = -1  # the container's root, until pivot_root
        self.proc_fd = -1  # a procfs mount of our own, for every write into /proc
        self.dev_fd = -1  # the fresh tmpfs on /dev
        self.devpts_fd = -1
        self.console = -1  # slave end of the terminal
        self.netlink: Any = None  # the socket that the namespace was prepared with
        self.environment: list[str] = []
        self.executable = ""
        self.chdir_pending = False
        self.final_capset: tuple[int, int, int] | None = None
        self.fds = dict(fds)  # all that the parent sent, by name
        self.stdio = [fds[name] for name in ("stdin", "stdout", "stderr") if name in fds]
        self.sources = {int(name[6:]): fd for name, fd in fds.items() if name.startswith("mount.")}
        self.namespace_fds = {name[3:]: fd for name, fd in fds.items() if name.startswith("ns.")}

    @property
    def spec(self) -> dict[str, Any]:
        """OCI config.json."""
        spec: dict[str, Any] = self.request["spec"]
        return spec


class Step:
    """One step. `stage` is the stable word for what failed; `prefix` stands before the text of a failure."""

    __slots__ = ()
    stage = "setup"
    prefix = INIT_PREFIX

    def describe(self) -> str:
        """One line for people: what this step does."""
        raise NotImplementedError

    def run(self, context: Context) -> None:
        """Do it. Raises OSError, ValueError or StartFailed."""
        raise NotImplementedError

    def prepare(self, context: Context) -> None:
        """Do ahead of time what does not depend on the container, for `run` to find in `context.prepared`."""

    def doing(self) -> str:
        """What stands before the reason when it fails, in runc's words where they are known."""
        return self.describe()

    def failure(self, error: BaseException) -> StartFailed:
        """`error` of this step as the exception that the parent will raise."""
        failed = StartFailed.from_error(self.stage, error, self.doing())
        if failed is not error:
            failed.text = self.prefix + failed.text
        return failed


def close_all(fds: Sequence[int]) -> None:
    """Close those that are open (not -1)."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)
