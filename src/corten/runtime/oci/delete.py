"""kill, delete, pause and resume."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys

from corten.linux.process import pidfd_open, pidfd_send_signal
from corten.runtime.failure import StartFailed
from corten.runtime.hooks import run_hooks
from corten.runtime.oci.state import Container, Lock, OciError, check_id, load

_KILL_TIMEOUT_MS = 10_000


def parse_signal(text: str) -> int:
    """The number of a signal given as 9, KILL or SIGKILL. Raises OciError."""
    if text.isdigit() and 0 < int(text) < signal.NSIG:
        return int(text)
    name = text.upper().removeprefix("SIG")
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        raise OciError(f"unknown signal {text!r}") from None


def kill(arguments: argparse.Namespace) -> int:
    """`kill`: signal the init, or with --all every process of the cgroup."""
    container = load(arguments.root, arguments.id)
    number = parse_signal(arguments.signal)
    if arguments.all:
        signal_all(container, number)
        return 0
    pidfd = container.open_init()
    try:
        pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    if number == signal.SIGKILL and container.cgroup.frozen():
        container.cgroup.thaw()  # on v1 a frozen process does not die
    return 0


def signal_all(container: Container, number: int) -> None:
    """Signal every process of the container's cgroup; each by a pidfd, checked to be in the cgroup still."""
    cgroup = container.cgroup
    if number == signal.SIGKILL:
        cgroup.kill()
        return
    for pid in cgroup.pids():
        with contextlib.suppress(OSError):
            pidfd = pidfd_open(pid)
            try:
                if pid in cgroup.pids():
                    pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)


def delete(arguments: argparse.Namespace) -> int:
    """`delete`: remove what a stopped container left; with --force stop it first."""
    try:
        container = load(arguments.root, arguments.id)
    except OciError:
        check_id(arguments.id)
        if arguments.force:
            Container(arguments.root, arguments.id, {}).remove_directory()  # half-made, or not there at all
            return 0
        raise
    with Lock(container.directory):
        status = container.status()
        if status not in {"stopped", "created"} and not arguments.force:
            raise OciError(f"cannot delete container {container.id} that is not stopped: {status}")
        destroy(container, force=True)
    return 0


def destroy(container: Container, *, force: bool) -> None:
    """End what still runs (`force`), remove cgroup and record, run the poststop hooks (their failures are reported)."""
    cgroup = container.cgroup
    if force:
        cgroup.kill()
        _kill_init(container)
    cgroup.remove()
    state = container.state(status="stopped")
    hooks = (container.spec.get("hooks") or {}).get("poststop") or ()
    container.remove_directory()
    for hook in hooks:
        try:
            run_hooks("poststop", [hook], state)
        except StartFailed as failed:
            print(f"warning: {failed.text}", file=sys.stderr)


def _kill_init(container: Container) -> None:
    try:
        pidfd = container.open_init()
    except OciError:
        return
    try:
        pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_KILL_TIMEOUT_MS):
            raise OciError("container init still running")
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def pause(arguments: argparse.Namespace) -> int:
    """`pause`: freeze all processes."""
    container = load(arguments.root, arguments.id)
    status = container.status()
    if status not in {"running", "created"}:
        raise OciError(f"container not running: {status}")
    container.cgroup.freeze()
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """`resume`: let them go on."""
    container = load(arguments.root, arguments.id)
    if not container.cgroup.frozen():
        raise OciError("container not paused")
    container.cgroup.thaw()
    return 0
