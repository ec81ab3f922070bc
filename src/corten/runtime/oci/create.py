"""create, run and start (runtime.md "Operations"). `run` is create without the wait in between."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import select
import signal
import time
from typing import Any

from corten.errors import CortenError
from corten.linux.cgroup import Cgroup, open_cgroup
from corten.linux.process import pidfd_send_signal, set_child_subreaper
from corten.runtime.failure import StartFailed
from corten.runtime.hooks import run_hooks
from corten.runtime.launch import InitProcess, LaunchRequest
from corten.runtime.oci.console import OwnTerminal, send_master
from corten.runtime.oci.delete import destroy
from corten.runtime.oci.state import Container, Lock, OciError, check_id, load, process_stat, reserve

_START_TIMEOUT_S = 10.0
_MAX_CONFIG = 32 << 20
# Devices that every container may use, whatever the spec says (config-linux.md "Default Devices"; runc's list).
_DEFAULT_RULES: tuple[tuple[str, int | None, int | None, str], ...] = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 136, None, "rwm"),
    ("c", 5, 2, "rwm"),
)


def read_config(bundle: str) -> dict[str, Any]:
    """config.json of a bundle, with root.path made absolute. Raises OciError."""
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            spec = json.loads(file.read(_MAX_CONFIG))
    except FileNotFoundError as error:
        raise OciError(f"JSON specification file {path} not found") from error
    except (ValueError, RecursionError) as error:
        raise OciError(f"{path}: {error}") from error
    if not isinstance(spec, dict) or not isinstance(spec.get("root"), dict):
        raise OciError(f"{path}: root must be specified")
    version = str(spec.get("ociVersion", ""))
    if not version.startswith("1."):
        raise OciError(f"{path}: unsupported ociVersion {version!r}, this runtime implements 1.2")
    spec["root"]["path"] = os.path.realpath(os.path.join(bundle, spec["root"].get("path") or "rootfs"))
    if not os.path.isdir(spec["root"]["path"]):
        raise OciError(f"invalid rootfs: {spec['root']['path']} is no directory")
    return spec


def cgroup_path(spec: dict[str, Any], container_id: str, *, systemd: bool) -> str:
    """Where the container's cgroup lies: linux.cgroupsPath, or a place of our own.

    The systemd form "slice:prefix:name" becomes the path that systemd would give it.
    """
    path = (spec.get("linux") or {}).get("cgroupsPath") or ""
    if not path:
        return f"/corten-oci/{container_id}"
    if systemd or path.count(":") == 2:
        slice_name, prefix, name = path.split(":") if path.count(":") == 2 else ("", "", path)
        unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        return f"/{slice_name or 'system.slice'}/{unit}"
    return str(path)


def cgroup_resources(spec: dict[str, Any]) -> dict[str, Any]:
    """linux.resources with the default devices allowed after whatever the spec denies."""
    resources = dict((spec.get("linux") or {}).get("resources") or {})
    rules = [*(resources.get("devices") or [{"allow": False, "access": "rwm"}])]
    for kind, major, minor, access in _DEFAULT_RULES:
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        if major is not None:
            rule["major"] = major
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    return {**resources, "devices": rules}


def create(arguments: argparse.Namespace) -> int:
    """`create`: everything but the command itself."""
    _create(arguments, wait=True)
    return 0


def _create(arguments: argparse.Namespace, *, wait: bool) -> tuple[Container, InitProcess, int | None]:
    container_id = check_id(arguments.id)
    bundle = os.path.realpath(arguments.bundle or ".")
    spec = read_config(bundle)
    terminal = bool((spec.get("process") or {}).get("terminal"))
    detached = wait or arguments.detach
    if terminal and detached and not arguments.console_socket:
        raise OciError("cannot allocate tty if runc will detach without setting console socket")
    if arguments.console_socket and not terminal:
        raise OciError("cannot use console socket if runc will not detach or allocate tty")
    directory = reserve(arguments.root, container_id)
    path = cgroup_path(spec, container_id, systemd=arguments.systemd_cgroup)
    container = Container(arguments.root, container_id, {"pid": 0, "cgroup": path, "spec": spec, "bundle": bundle})
    cgroup = open_cgroup(path)
    shared_cgroup = cgroup.exists()
    with contextlib.ExitStack() as undo:
        undo.callback(container.remove_directory)
        cgroup.create()
        if not shared_cgroup:
            undo.callback(cgroup.remove)
        cgroup.apply(cgroup_resources(spec))
        process = _spawn(spec, cgroup)
        undo.callback(process.close)
        undo.callback(process.abort)
        fifo = -1
        if wait:
            os.mkfifo(os.path.join(directory, "exec.fifo"), 0o622)
            fifo = os.open(os.path.join(directory, "exec.fifo"), os.O_RDWR | os.O_CLOEXEC)
            undo.callback(os.close, fifo)
        request = LaunchRequest(
            spec=spec,
            container_id=container_id,
            bundle=bundle,
            no_pivot=arguments.no_pivot,
            keyring=not arguments.no_new_keyring,
            preserve_fds=range(3, 3 + _preserved(arguments)),
            exec_fifo=fifo,
        )
        console = process.configure(request, stdio=(0, 1, 2))
        if console is not None and arguments.console_socket:
            send_master(arguments.console_socket, console)
            os.close(console)
            console = None
        process.wait_ready()
        stat = process_stat(process.pid)
        container.record.update(pid=process.pid, starttime=stat[1] if stat else 0, created=_now())
        container.save()
        _write_pid_file(arguments.pid_file, process.pid)
        if wait:
            process.release()  # init goes on to wait for `start`
        undo.pop_all()
        if fifo >= 0:
            os.close(fifo)
    return container, process, console


def _spawn(spec: dict[str, Any], cgroup: Cgroup) -> InitProcess:
    linux = spec.get("linux") or {}
    fd = cgroup.clone_fd()
    try:
        process = InitProcess.spawn(
            namespaces=linux.get("namespaces") or (),
            uid_mappings=linux.get("uidMappings") or (),
            gid_mappings=linux.get("gidMappings") or (),
            time_offsets=linux.get("timeOffsets"),
            cgroup_fd=fd,
        )
    except ValueError as error:
        raise OciError(str(error)) from error
    finally:
        if fd is not None:
            os.close(fd)
    if fd is None:
        try:
            cgroup.add(process.pid)
        except BaseException:
            process.abort()
            process.close()
            raise
    return process


def _preserved(arguments: argparse.Namespace) -> int:
    """How many descriptors from 3 on go to the command: --preserve-fds, and socket activation's (sd_listen_fds(3))."""
    listen = os.environ.get("LISTEN_FDS", "0")
    return int(arguments.preserve_fds or 0) + (int(listen) if listen.isdigit() else 0)


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def _write_pid_file(path: str | None, pid: int) -> None:
    if path:
        with open(f"{path}.tmp", "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(f"{path}.tmp", path)


def run(arguments: argparse.Namespace) -> int:
    """`run`: create, start and, unless detached, wait and delete. The command's exit status is returned."""
    if not arguments.no_subreaper and not arguments.detach:
        set_child_subreaper()
    container, process, console = _create(arguments, wait=False)
    try:
        process.release()
        run_hooks("poststart", (container.spec.get("hooks") or {}).get("poststart") or (), container.state())
    except StartFailed:
        destroy(container, force=True)
        raise
    if arguments.detach:
        process.close()
        return 0
    try:
        return wait_foreground(process.pid, process.pidfd, console)
    finally:
        process.close()
        if not arguments.keep:
            destroy(container, force=True)


def wait_foreground(pid: int, pidfd: int, console: int | None) -> int:
    """Be the process's terminal or pass on signals until it ends; its exit status as a shell has it."""
    if console is not None:
        with OwnTerminal(console) as terminal:
            terminal.relay(pidfd)
        os.close(console)
    else:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
            signal.signal(number, lambda received, _frame: _pass_on(pidfd, received))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _pass_on(pidfd: int, number: int) -> None:
    with contextlib.suppress(OSError):
        pidfd_send_signal(pidfd, number)


def start(arguments: argparse.Namespace) -> int:
    """`start`: let a created container's command run, then run the poststart hooks."""
    container = load(arguments.root, arguments.id)
    with Lock(container.directory):
        status = container.status()
        if status == "stopped":
            raise OciError("cannot start a container that has stopped")
        if status != "created":
            raise OciError("cannot start an already running container")
        try:
            fifo = os.open(container.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise OciError("cannot start a container that has stopped") from error
            raise
        try:
            os.write(fifo, b"0")
            os.unlink(container.fifo)
            _wait_taken(container, fifo)
        finally:
            os.close(fifo)
        run_hooks("poststart", (container.spec.get("hooks") or {}).get("poststart") or (), container.state())
    return 0


def _wait_taken(container: Container, fifo: int) -> None:
    """Until init has let go of the FIFO (it is on its way to execve) or ended."""
    pidfd = container.open_init()
    try:
        poll = select.poll()
        poll.register(fifo, 0)  # POLLERR: no reader is left
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_START_TIMEOUT_S * 1000):
            raise OciError("the container did not start in time")
    finally:
        os.close(pidfd)


__all__ = ["CortenError", "create", "run", "start", "wait_foreground"]
