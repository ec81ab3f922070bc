"""exec: one more process in a running container."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, NamedTuple

from corten.linux.capabilities import NUMBERS
from corten.runtime.join import JoinedProcess
from corten.runtime.oci.console import send_master
from corten.runtime.oci.create import wait_foreground
from corten.runtime.oci.state import Container, OciError, load


class _Init(NamedTuple):
    pid: int
    pidfd: int


def exec_(arguments: argparse.Namespace) -> int:
    """`exec`: run it, and unless detached wait for its exit status."""
    container = load(arguments.root, arguments.id)
    status = container.status()
    if status == "stopped":
        raise OciError("cannot exec in a stopped container")
    if status == "paused" and not arguments.ignore_paused:
        raise OciError("cannot exec in a paused container (use --ignore-paused to override)")
    process = _process(arguments, container)
    terminal = bool(process.get("terminal"))
    if terminal and arguments.detach and not arguments.console_socket:
        raise OciError("cannot allocate tty if runc will detach without setting console socket")
    pidfd = container.open_init()
    try:
        joined = JoinedProcess.spawn(
            _Init(container.pid, pidfd),
            spec=container.spec,
            process=process,
            stdio=None if terminal else (0, 1, 2),
            cgroup=container.cgroup,
            container_id=container.id,
            preserve_fds=range(3, 3 + int(arguments.preserve_fds or 0)),
        )
    finally:
        os.close(pidfd)
    console = joined.console if joined.console >= 0 else None
    if console is not None and arguments.console_socket:
        send_master(arguments.console_socket, console)
        os.close(console)
        console = None
    if arguments.pid_file:
        with open(arguments.pid_file, "w", encoding="ascii") as file:
            file.write(str(joined.pid))
    if arguments.detach:
        joined.close()
        return 0
    try:
        return wait_foreground(joined.pid, joined.pidfd, console)
    finally:
        joined.close()


def _process(arguments: argparse.Namespace, container: Container) -> dict[str, Any]:
    """The process to run: of --process, or the container's own with what the flags change."""
    if arguments.process:
        with open(arguments.process, encoding="utf-8") as file:
            process: dict[str, Any] = json.load(file)
        return process
    if not arguments.command:
        raise OciError("process args cannot be empty")
    process = {**container.spec["process"], "args": arguments.command, "terminal": arguments.tty}
    # What belongs to the init only does not pass on to an exec.
    process.pop("consoleSize", None)
    process.pop("oomScoreAdj", None)
    if arguments.cwd:
        process["cwd"] = arguments.cwd
    if arguments.env:
        process["env"] = [*(process.get("env") or ()), *arguments.env]
    if arguments.user or arguments.additional_gids:
        process["user"] = _user(arguments, process.get("user") or {})
    _set_privileges(arguments, process)
    return process


def _set_privileges(arguments: argparse.Namespace, process: dict[str, Any]) -> None:
    if arguments.apparmor:
        process["apparmorProfile"] = arguments.apparmor
    if arguments.process_label:
        process["selinuxLabel"] = arguments.process_label
    if arguments.no_new_privs:
        process["noNewPrivileges"] = True
    if arguments.cap:
        unknown = [name for name in arguments.cap if name not in NUMBERS]
        if unknown:
            raise OciError(f"unknown capability {unknown[0]}")
        sets = dict(process.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted"):
            sets[name] = [*(sets.get(name) or ()), *arguments.cap]
        process["capabilities"] = sets


def _user(arguments: argparse.Namespace, current: dict[str, Any]) -> dict[str, Any]:
    user = {**current, "additionalGids": [*(current.get("additionalGids") or ()), *(arguments.additional_gids or ())]}
    if arguments.user:
        uid, _, gid = arguments.user.partition(":")
        if not uid.isdigit() or (gid and not gid.isdigit()):
            raise OciError(f"parsing {arguments.user!r} as uid:gid failed: both must be numbers")
        user["uid"] = int(uid)
        if gid:
            user["gid"] = int(gid)
    return user
