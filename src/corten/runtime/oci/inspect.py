"""state, list, ps, events: what others want to know of containers."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import select
import shutil
import subprocess
import sys
import time
from typing import Any

from corten.runtime.oci.state import Container, OciError, all_ids, load


def _summary(container: Container) -> dict[str, Any]:
    status = container.status()
    summary = {
        "ociVersion": container.spec.get("ociVersion", "1.2.0"),
        "id": container.id,
        "pid": 0 if status == "stopped" else container.pid,
        "status": status,
        "bundle": container.record["bundle"],
        "rootfs": container.spec["root"]["path"],
        "created": container.record.get("created", ""),
    }
    if container.spec.get("annotations"):
        summary["annotations"] = container.spec["annotations"]
    summary["owner"] = ""
    return summary


def state(arguments: argparse.Namespace) -> int:
    """`state`: one container as JSON."""
    print(json.dumps(_summary(load(arguments.root, arguments.id)), indent=2))
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """`list`: all containers below --root."""
    summaries = []
    for container_id in all_ids(arguments.root):
        try:
            container = load(arguments.root, container_id)
        except OciError:
            continue  # half-made, or removed meanwhile
        owner = os.stat(container.directory).st_uid
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        summaries.append({**_summary(container), "owner": name})
    if arguments.quiet:
        print("".join(f"{summary['id']}\n" for summary in summaries), end="")
    elif arguments.format == "json":
        print(json.dumps(summaries or None))
    else:
        rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += [tuple(str(summary[key.lower()]) for key in rows[0]) for summary in summaries]
        widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]))]
        for row in rows:
            print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def ps(arguments: argparse.Namespace) -> int:
    """`ps`: the container's processes, as JSON pids or through the host's ps."""
    pids = load(arguments.root, arguments.id).cgroup.pids()
    if arguments.format == "json":
        print(json.dumps(pids))
        return 0
    program = shutil.which("ps")
    if program is None:
        _own_table(pids)
        return 0
    options = arguments.options or ["-ef"]
    done = subprocess.run([program, *options], stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    if done.returncode:
        raise OciError(f"ps failed with status {done.returncode}")
    lines = done.stdout.splitlines()
    column = lines[0].split().index("PID") if lines and "PID" in lines[0].split() else -1
    if column < 0:
        raise OciError("couldn't find PID field in ps output")
    print(lines[0])
    wanted = {str(pid) for pid in pids}
    for line in lines[1:]:
        if line.split()[column] in wanted:
            print(line)
    return 0


def _own_table(pids: list[int]) -> None:
    """The few columns that /proc gives at once, on hosts without ps."""
    print(f"{'UID':<10}{'PID':>8}{'PPID':>8} CMD")
    for pid in pids:
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                parent = file.read().rpartition(")")[2].split()[1]
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                command = file.read().replace("\0", " ").strip()
        except OSError:
            continue  # it has ended meanwhile
        print(f"{uid:<10}{pid:>8}{parent:>8} {command}")


def events(arguments: argparse.Namespace) -> int:
    """`events`: statistics, and a line for each OOM, until the container stops."""
    container = load(arguments.root, arguments.id)
    if container.status() == "stopped":
        raise OciError(f"container with id {container.id} is not running")
    cgroup = container.cgroup
    if arguments.stats:
        _emit("stats", container, cgroup.stats())
        return 0
    pidfd, oom = container.open_init(), cgroup.oom_fd()
    try:
        killed = cgroup.oom_kills()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(oom, select.POLLIN)
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + arguments.interval
                _emit("stats", container, cgroup.stats())
            ready = dict(poll.poll(max(0.0, due - now) * 1000))
            if oom in ready:
                os.read(oom, 4096)
                if cgroup.oom_kills() > killed:
                    killed = cgroup.oom_kills()
                    _emit("oom", container, None)
            if pidfd in ready:
                return 0
    finally:
        os.close(pidfd)
        os.close(oom)


def parse_interval(text: str) -> float:
    """Seconds of a duration as Go writes it (5s, 500ms, 1m). Raises ValueError, for argparse."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if text.endswith(unit):
            value = float(text.removesuffix(unit)) * factor
            break
    else:
        value = float(text)
    if not 0 < value < 86_400 * 365:
        raise ValueError("duration interval must be greater than 0")
    return value


def _emit(kind: str, container: Container, data: dict[str, Any] | None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container.id}
    if data is not None:
        event["data"] = data
    print(json.dumps(event))
    sys.stdout.flush()
