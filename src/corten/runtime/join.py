"""Run one more process in a container: exec. Runs in shim and command line; the child's part is runtime/init.py.

The child is cloned straight into the container's pid namespace, which the caller enters for its children only and for
that moment, and it is not dumpable from then on: the container can see it but cannot look into it (CVE-2016-9962,
CVE-2019-5736). All other namespaces are entered in one call by the init's pidfd, so that none can be swapped for
another process's between two calls. The process is the caller's own child.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from corten.linux.namespaces import CLONE_NEWPID, CLONE_NEWUSER, TYPES, setns
from corten.runtime import init as child
from corten.runtime.channel import Channel
from corten.runtime.failure import StartFailed
from corten.runtime.launch import capability_masks, compiled_seccomp
from corten.runtime.plan import namespace_kinds
from corten.runtime.process import ChildProcess, clone_hidden

__all__ = ["ContainerInit", "ExecCgroup", "JoinedProcess"]


class ContainerInit(Protocol):
    """A container's process 1: an InitProcess, or anything else that has both numbers."""

    @property
    def pid(self) -> int:
        """Its pid here."""

    @property
    def pidfd(self) -> int:
        """A descriptor of exactly that process."""


class ExecCgroup(Protocol):
    """What an exec needs of a cgroup: corten.linux.cgroup.Cgroup has it."""

    def add(self, pid: int) -> None:
        """Move a process into it."""

    def clone_fd(self) -> int | None:
        """A descriptor to clone into it (v2), which the caller closes, or None (v1)."""


class JoinedProcess(ChildProcess):
    """A process in somebody else's container; `console` is its terminal's master (-1: none), the caller's to close."""

    console: int = -1

    @classmethod
    def spawn(
        cls,
        init: ContainerInit,
        *,
        spec: Mapping[str, Any],
        process: Mapping[str, Any],
        stdio: tuple[int, int, int] | None,
        cgroup: ExecCgroup | None = None,
        seccomp_filter: bytes | None = None,
        container_id: str = "",
        preserve_fds: Sequence[int] = (),
    ) -> JoinedProcess:
        """All at once: on return the process has done its execve. Raises StartFailed; nothing is left then."""
        joined = cls.clone(init, spec=spec, cgroup=cgroup)
        try:
            joined.configure(
                process,
                stdio=stdio,
                seccomp_filter=seccomp_filter,
                container_id=container_id,
                preserve_fds=preserve_fds,
            )
            joined.wait_ready()
            joined.release()
        except BaseException:
            joined.abort()
            joined.close()
            if joined.console >= 0:
                os.close(joined.console)
            raise
        return joined

    @classmethod
    def clone(cls, init: ContainerInit, *, spec: Mapping[str, Any], cgroup: ExecCgroup | None = None) -> JoinedProcess:
        """A child that waits for what to run; it is in the container's pid namespace and cgroup already."""
        kinds = namespace_kinds(spec)
        flags = 0
        for kind in kinds:
            flags |= TYPES[kind][0]
        try:
            if "user" in kinds and _same_user_namespace(init.pid):
                flags &= ~CLONE_NEWUSER
            pid, own_pidfd, channel = _clone_into(init.pidfd, flags, cgroup)
        except OSError as error:
            raise StartFailed.from_error("spawn", error, "unable to join the container's namespaces") from error
        process = cls(pid, own_pidfd, channel)
        process._spec = spec
        return process

    _spec: Mapping[str, Any]

    def configure(
        self,
        process: Mapping[str, Any],
        *,
        stdio: tuple[int, int, int] | None,
        seccomp_filter: bytes | None = None,
        container_id: str = "",
        preserve_fds: Sequence[int] = (),
        trace: bool = False,
    ) -> int | None:
        """Tell it what to run (`process` as in config.json); returns the terminal's master. Raises StartFailed."""
        try:
            try:
                seccomp, flags = compiled_seccomp(self._spec, seccomp_filter)
                capabilities = capability_masks(process)
                self._apply_from_outside(process)
            except (ValueError, KeyError, TypeError) as error:
                raise StartFailed("spec", 22, str(error)) from error
        except StartFailed:
            self.abort()
            raise
        fds: dict[str, int] = {}
        if not process.get("terminal") and stdio is not None:
            fds = dict(zip(("stdin", "stdout", "stderr"), stdio, strict=True))
        fds.update((f"preserve.{number}", fd) for number, fd in enumerate(preserve_fds))
        request = {
            "process": process,
            "capabilities": capabilities,
            "seccomp": seccomp,
            "seccomp_flags": flags,
            "keyring": f"_ses.{container_id}" if container_id else "",
            "trace": trace or "CORTEN_TRACE" in os.environ,
        }
        self._send(request, fds)
        if not process.get("terminal"):
            return None
        _message, consoles = self._await("console")
        self.console = consoles[0]
        return self.console


def _same_user_namespace(pid: int) -> bool:
    return os.path.samestat(os.stat(f"/proc/{pid}/ns/user"), os.stat("/proc/self/ns/user"))


def _clone_into(pidfd: int, flags: int, cgroup: ExecCgroup | None) -> tuple[int, int, Channel]:
    """Clone with the container's pid namespace set for children, then set the caller's own again."""
    own_pid_namespace = -1
    parent_end, child_end = Channel.pair()
    cgroup_fd = cgroup.clone_fd() if cgroup is not None else None
    try:
        if flags & CLONE_NEWPID:
            own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            setns(pidfd, CLONE_NEWPID)
        pid, child_pidfd = clone_hidden(0, cgroup_fd=cgroup_fd)
        if pid == 0:
            child.main_joined(child_end, pidfd, flags & ~CLONE_NEWPID, user=bool(flags & CLONE_NEWUSER))
    except BaseException:
        parent_end.close()
        raise
    finally:
        child_end.close()
        if cgroup_fd is not None:
            os.close(cgroup_fd)
        if own_pid_namespace >= 0:
            setns(own_pid_namespace, CLONE_NEWPID)
            os.close(own_pid_namespace)
    process = pid, child_pidfd, parent_end
    if cgroup is not None and cgroup_fd is None:
        try:
            cgroup.add(pid)
        except BaseException:
            ChildProcess(*process).abort()
            os.close(child_pidfd)
            raise
    return process
