"""The child: what runs between clone and execve, as the container's process 1 or as a process that joins.

It runs the planned steps, says "ready", waits for "go", and becomes the container's command. Failures go up the socket
as (stage, errno, text). It never returns into the parent's code: it ends in execve or os._exit. All modules are loaded
before: after pivot_root the interpreter's files are out of reach, and a container's must never be imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from corten.linux import credentials, rtnetlink
from corten.linux.namespaces import setns
from corten.linux.process import set_dumpable, set_name
from corten.runtime.channel import Channel, ChannelClosed
from corten.runtime.failure import StartFailed
from corten.runtime.plan import plan_container, plan_exec, start_hooks
from corten.runtime.steps.base import Context, Step
from corten.runtime.steps.command import Command, close_other_descriptors, reset_signals

Plan = Callable[[Mapping[str, Any]], list[Step]]
_FIRST_FREE = 3


def main(channel: Channel, created: frozenset[str]) -> NoReturn:
    """The whole life of a container's init. `created`: the namespaces that clone made."""

    def body() -> None:
        executable = _isolate([channel.fileno()])
        netlink = rtnetlink.prepare_namespace() if "network" in created else None
        request, context = _receive(channel)
        if "user" in created:
            _become_namespace_root()
        if request.get("prepare"):
            _prepare(context, request)
            prepared, namespaces = context.prepared, context.prepared_namespaces
            request, context = _receive(channel)
            context.prepared, context.prepared_namespaces = prepared, namespaces
        context.netlink = netlink
        context.own_executable = executable
        _run(context, request, plan_container)

    _guarded(channel, body)


def main_joined(channel: Channel, pidfd: int, flags: int, *, user: bool) -> NoReturn:
    """The whole life of a process that joins a container: all namespaces in one call, by the init's pidfd."""

    def body() -> None:
        executable = _isolate([channel.fileno(), pidfd])
        request, context = _receive(channel)
        context.own_executable = executable
        setns(pidfd, flags)
        os.close(pidfd)
        os.chdir("/")
        if user:
            _become_namespace_root()
        _run(context, request, plan_exec)

    _guarded(channel, body)


def _guarded(channel: Channel, body: Callable[[], None]) -> NoReturn:
    try:
        body()
    except ChannelClosed:
        os._exit(1)  # the parent is gone or gave up: nobody is left to tell
    except BaseException as error:
        failed = StartFailed.from_error("init", error)
        try:
            channel.send({"type": "failed", **failed.to_json()})
        except OSError:
            # After `create` of the command line the parent is gone: the container's own stderr is what is left.
            os.write(2, f"{failed.text}\n".encode("utf-8", "replace"))
    os._exit(1)


def _isolate(keep: Sequence[int]) -> tuple[int, int]:
    """Let go of everything that was the parent's; returns the identity of this process's executable."""
    gc.disable()
    set_dumpable(False)
    close_other_descriptors(keep)
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.setsid()
    set_name("corten:init")
    own = os.stat("/proc/self/exe")
    return own.st_dev, own.st_ino


def _become_namespace_root() -> None:
    """Root of the user namespace; its capabilities came with the namespace."""
    credentials.setresgid(0)
    credentials.setresuid(0)
    with contextlib.suppress(PermissionError):
        credentials.setgroups([])
    set_dumpable(False)


def _receive(channel: Channel) -> tuple[dict[str, Any], Context]:
    request, fds = channel.receive_request()
    names = request["fds"]
    return request, Context(channel, request, dict(zip(names, fds, strict=True)))


def _prepare(context: Context, request: dict[str, Any]) -> None:
    """Do ahead what the container that `request` sketches will need; what fails will be done, and reported, later.

    Besides what the steps prepare, planning once makes this process's own copies of the pages that planning touches:
    a page shared with the parent costs a fault of some microseconds, hundreds of them a start.
    """
    umask = os.umask(0)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        for step in plan_container(request):
            with contextlib.suppress(OSError):
                step.prepare(context)
    os.umask(umask)


def _run(context: Context, request: dict[str, Any], plan: Plan) -> NoReturn:
    os.umask(0)
    trace: list[tuple[str, int]] = []
    started = time.perf_counter_ns()
    try:
        steps = plan(request)
    except (ValueError, KeyError, TypeError) as error:
        text = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise StartFailed("spec", 22, text) from error
    if request["trace"]:
        trace.append(("plan", time.perf_counter_ns() - started))
    for step in steps:
        begun = time.perf_counter_ns() if request["trace"] else 0
        try:
            step.run(context)
        except ChannelClosed:
            raise
        except Exception as error:
            raise step.failure(error) from error
        if request["trace"]:
            trace.append((step.describe(), time.perf_counter_ns() - begun))
    process = request.get("process") or request["spec"]["process"]
    command = Command(context, process, request.get("seccomp"), request.get("seccomp_flags", 0))
    hooks = start_hooks(request) if "process" not in request else None
    umask = (process.get("user") or {}).get("umask")
    os.umask(0o022 if umask is None else umask & 0o777)
    context.channel.send({"type": "ready", "trace": trace})
    context.channel.receive_request()
    _go(context, command, hooks)


def _go(context: Context, command: Command, hooks: Step | None) -> NoReturn:
    """The parent said go: the last steps, none of which can wait for anybody."""
    if "fifo" in context.fds:
        _wait_for_start(context)
    if hooks is not None:
        try:
            hooks.run(context)
        except Exception as error:
            raise hooks.failure(error) from error
    _arrange_descriptors(context, command.init_fd)
    reset_signals()
    try:
        command.confine()
    except OSError as error:
        doing = "unable to init seccomp: error loading seccomp filter into kernel"
        raise StartFailed.from_error("seccomp", error, doing) from error
    command.run()


def _wait_for_start(context: Context) -> None:
    """Between `create` and `start` of the command line: let the parent go, wait for a byte in the FIFO."""
    fd = context.fds["fifo"]
    context.channel.close()
    while not os.read(fd, 1):
        pass


def _arrange_descriptors(context: Context, init_fd: int) -> None:
    """Preserved descriptors from 3 on, above them until execve the channel and --init's program, and no others."""
    preserved = [fd for name, fd in context.fds.items() if name.startswith("preserve.")]
    limit = _FIRST_FREE + len(preserved)
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, limit) for fd in preserved]
    keep = list(range(_FIRST_FREE, limit))
    if context.channel.fileno() >= 0:
        context.channel.move_above(limit)
        keep.append(context.channel.fileno())
    if init_fd >= 0:
        keep.append(init_fd)
    for number, fd in enumerate(parked, _FIRST_FREE):
        os.dup2(fd, number, inheritable=True)
    close_other_descriptors(keep)
