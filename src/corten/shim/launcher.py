"""The process that does the runtime's work for a shim, once, and ends. Forked by the shim (see launching.py).

Making a container touches some megabytes of the interpreter's memory, and each touched page is a copy that a forked
process keeps until it ends. A shim lives as long as its container, so it lets others do that: a launcher makes the
cgroup and init, waits, starts init, and is gone; another one makes each exec. What a launcher has made becomes the
shim's child when the launcher ends, since the shim is its subreaper (prctl(2), PR_SET_CHILD_SUBREAPER).

It talks over one socket (protocol.py). End of file there means that nobody wants the result: it undoes and ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from corten.linux.cgroup import Cgroup, LimitUnsupported
from corten.linux.process import pidfd_open, set_name
from corten.runtime.join import JoinedProcess
from corten.runtime.launch import InitProcess, LaunchRequest, StartFailed
from corten.runtime.steps.command import close_other_descriptors
from corten.shim import protocol
from corten.shim.pipes import set_window_size

NAME = "corten-launcher"


class Link:
    """The launcher's end of its socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._receiver = protocol.Receiver(sock)

    def next(self) -> tuple[protocol.Message, list[int]] | None:
        """What the shim wants; None when it wants nothing more."""
        while (item := self._receiver.take()) is None:
            if not self._receiver.fill():
                return None
        return item

    def reply(self, message: protocol.Message, fds: list[int]) -> None:
        """Answer. Raises OSError when nobody listens."""
        protocol.send(self._socket, message, fds)

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        if not isinstance(error, StartFailed):
            error = StartFailed("shim", getattr(error, "errno", 0) or 0, f"{error}" or type(error).__name__)
        self.reply({"error": {"stage": error.stage, "errno": error.errno, "text": error.text}}, [])


def become_launcher(sock: socket.socket, work: Callable[[Link], None], *, keep: Sequence[int] = ()) -> NoReturn:
    """In the child, right after the fork: do `work` and end. Of the parent's descriptors only `keep` stay open."""
    status = 1
    try:
        close_other_descriptors([sock.fileno(), *keep])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        set_name(NAME)
        work(Link(sock))
        status = 0
    except BaseException:  # the last frame of this process; the shim sees its socket close
        traceback.print_exc(file=sys.stderr)
    os._exit(status)


def launch_container(link: Link, cgroup: Cgroup, sandbox: protocol.Message, sketch: Sequence[int]) -> None:
    """Make cgroup and init of `sandbox` and answer with its pid, its pidfd and the launcher's own; then start what the
    next message says, and answer with what is readable after an OOM and the console's master, if there are such."""
    try:
        init = _spawn_init(cgroup, sandbox)
        if sketch:
            spec = protocol.read_document(sketch[0])
            init.prepare(LaunchRequest(spec=spec, container_id=sandbox["id"]))
            os.close(sketch[0])
    except Exception as error:  # the daemon is to hear of it, whatever it is
        link.fail(error)
        return
    link.reply({"pid": init.pid}, [init.pidfd, pidfd_open(os.getpid())])
    request = link.next()
    if request is None:
        init.abort()
        return
    message, fds = request
    try:
        console = _start_init(init, cgroup, sandbox, message, fds)
    except Exception as error:
        init.abort()
        link.fail(error)
        return
    fds = [] if console is None else [console]
    watch = _watch_oom(cgroup)
    try:
        link.reply({"oom": watch >= 0}, fds if watch < 0 else [watch, *fds])
    except OSError:  # the shim is gone: nobody would ever wait for it
        init.abort()


def _spawn_init(cgroup: Cgroup, sandbox: protocol.Message) -> InitProcess:
    """The cgroup, and init in it and in its namespaces, waiting. Raises StartFailed, OSError."""
    cgroup.create()
    cgroup_fd = cgroup.clone_fd()
    try:
        init = InitProcess.spawn(
            namespaces=sandbox["namespaces"],
            uid_mappings=sandbox.get("uidMappings") or (),
            gid_mappings=sandbox.get("gidMappings") or (),
            time_offsets=sandbox.get("timeOffsets"),
            cgroup_fd=cgroup_fd,
        )
    finally:
        if cgroup_fd is not None:
            os.close(cgroup_fd)
    try:
        if cgroup_fd is None:
            cgroup.add(init.pid)
        if sandbox.get("resources"):
            cgroup.apply(sandbox["resources"])
    except BaseException:
        init.abort()
        raise
    return init


def _start_init(
    init: InitProcess, cgroup: Cgroup, sandbox: protocol.Message, message: protocol.Message, fds: list[int]
) -> int | None:
    """Let init become the container's process; the console's master."""
    document = protocol.read_document(fds[0])
    spec = document["spec"]
    resources = (spec.get("linux") or {}).get("resources") or {}
    prepared = sandbox.get("resources") or {}
    changed = {key: value for key, value in resources.items() if prepared.get(key) != value}
    if changed:
        cgroup.apply(changed)
    request = LaunchRequest(
        spec=spec,
        container_id=sandbox["id"],
        rootfs=document.get("rootfs"),
        root_fd=fds.pop(1) if message.get("root") else -1,
        interfaces=document.get("interfaces") or [],
        renew_network=bool(document.get("renew_network")),
        seccomp_filter=_read_filter(document),
        init=bool(document.get("init")),
    )
    console = init.configure(request, stdio=_stdio(fds[1:]))
    init.wait_ready()
    if console is not None and message.get("window"):
        set_window_size(console, *message["window"])
    init.release()
    return console


def _watch_oom(cgroup: Cgroup) -> int:
    """A descriptor that is readable when the kernel may have killed for want of memory; -1 without that controller."""
    try:
        return cgroup.oom_fd()
    except (OSError, LimitUnsupported):
        return -1


class _Container:
    """What an exec needs to know of init."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd


def launch_exec(link: Link, cgroup: Cgroup | None, message: protocol.Message, fds: list[int]) -> None:
    """Start one more process in a container. `fds`: the container's document, the exec's, init's pidfd, the stdio.

    Without `cgroup` this process is in the container's cgroup already. The answer has the pid, its pidfd, the
    launcher's own, and the console's master if there is one.
    """
    try:
        container, document = (protocol.read_document(fd) for fd in fds[:2])
        process = JoinedProcess.spawn(
            _Container(int(message["init"]), fds[2]),
            spec=container["spec"],
            process=document["process"],
            stdio=_stdio(fds[3:]),
            cgroup=cgroup,
            seccomp_filter=_read_filter(document),
            container_id=str(message["id"]),
        )
    except Exception as error:
        link.fail(error)
        return
    try:
        own = [process.pidfd, pidfd_open(os.getpid())]
        link.reply({"pid": process.pid}, own if process.console < 0 else [*own, process.console])
    except OSError:  # the shim is gone, or has waited long enough
        process.abort()


def _stdio(fds: list[int]) -> tuple[int, int, int] | None:
    return (fds[0], fds[1], fds[2]) if fds else None


def _read_filter(document: dict[str, Any]) -> bytes | None:
    """The compiled seccomp filter, which the daemon left in the exec root; None without one. Raises OSError."""
    path = document.get("seccomp_path")
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
