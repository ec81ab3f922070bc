"""Make a container's init: clone it ahead of time, tell it what to become, let it go. Runs in shim and command line.

    init = InitProcess.spawn(namespaces=spec["linux"]["namespaces"])     # off the hot path; the child waits
    console = init.configure(LaunchRequest(spec=spec, ...), stdio=(0, 1, 2))
    init.wait_ready()                                                     # all done but execve
    init.release()                                                        # the command runs

`spawn` takes what clone must know: namespaces, mappings, a v2 cgroup. Whatever it made too much is left again in
`configure` (network, ipc, uts, time, cgroup: the child enters the parent's), whatever was not asked for then is made
there. `prepare` in between is optional and takes most of the work off the hot path.
The calling process has one thread. Errors are StartFailed; nothing is left behind then.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from corten.linux.capabilities import from_oci
from corten.linux.credentials import setresgid, setresuid
from corten.linux.errors import SyscallError
from corten.linux.namespaces import CLONE_NEWTIME, CLONE_NEWUSER, CLONE_PARENT, TYPES, clone3, setns, unshare
from corten.linux.process import pidfd_open
from corten.linux.seccomp_load import FLAGS
from corten.runtime import init as child
from corten.runtime.channel import Channel
from corten.runtime.failure import StartFailed
from corten.runtime.hooks import container_state, run_hooks
from corten.runtime.mappings import Mappings, write_mappings
from corten.runtime.mountplan import ROOT_SOURCE
from corten.runtime.plan import check_spec, namespace_kinds
from corten.runtime.process import ChildProcess, clone_hidden
from corten.runtime.sources import open_root, open_sources
from corten.runtime.steps.base import close_all

__all__ = ["InitProcess", "LaunchRequest", "StartFailed"]

# Made by clone. cgroup and mount wait for `configure`; see runtime/steps/namespaces.py.
_AT_SPAWN = ("user", "pid", "network", "ipc", "uts", "time")
_LEAVABLE = frozenset({"network", "ipc", "uts", "time", "cgroup"})


class LaunchRequest:
    """What the init is to become.

    `rootfs`: a RootfsMount, or None when spec.root.path is a directory; `root_fd`: the detached mount that one of type
    `mount` speaks of, the caller's. `interfaces`: what to configure in a new network namespace. `renew_network`: not
    in the one made by `spawn`, which has what this container must not see.
    `seccomp_filter`: compiled already, else `linux.seccomp` is compiled here. `preserve_fds`:
    descriptors that the command gets as 3, 4, ... `exec_fifo`: wait for a byte in this FIFO before the command runs
    (`create` and `start` of the OCI command line). `init`: a reaper as process 1.
    """

    __slots__ = (
        "bundle",
        "container_id",
        "exec_fifo",
        "init",
        "interfaces",
        "keyring",
        "no_pivot",
        "preserve_fds",
        "renew_network",
        "root_fd",
        "rootfs",
        "seccomp_filter",
        "spec",
        "trace",
    )

    def __init__(
        self,
        *,
        spec: dict[str, Any],
        container_id: str = "",
        rootfs: dict[str, Any] | None = None,
        root_fd: int = -1,
        interfaces: Sequence[dict[str, Any]] = (),
        renew_network: bool = False,
        seccomp_filter: bytes | None = None,
        init: bool = False,
        bundle: str = "/",
        no_pivot: bool = False,
        keyring: bool = True,
        preserve_fds: Sequence[int] = (),
        exec_fifo: int = -1,
        trace: bool = False,
    ) -> None:
        self.spec = spec
        self.container_id = container_id
        self.rootfs = rootfs
        self.root_fd = root_fd
        self.interfaces = list(interfaces)
        self.renew_network = renew_network
        self.seccomp_filter = seccomp_filter
        self.init = init
        self.bundle = bundle
        self.no_pivot = no_pivot
        self.keyring = keyring
        self.preserve_fds = preserve_fds
        self.exec_fifo = exec_fifo
        self.trace = trace or "CORTEN_TRACE" in os.environ


class InitProcess(ChildProcess):
    """A container's process 1 before its execve."""

    def __init__(self, pid: int, pidfd: int, channel: Channel, created: frozenset[str]) -> None:
        super().__init__(pid, pidfd, channel)
        self._created = created

    @classmethod
    def spawn(
        cls,
        *,
        namespaces: Sequence[Mapping[str, Any]],
        uid_mappings: Mappings = (),
        gid_mappings: Mappings = (),
        time_offsets: Mapping[str, Any] | None = None,
        cgroup_fd: int | None = None,
    ) -> InitProcess:
        """Clone the child into new namespaces (`namespaces` as in OCI `linux.namespaces`). Raises StartFailed."""
        kinds = namespace_kinds({"linux": {"namespaces": list(namespaces)}})
        unknown = set(kinds).difference(TYPES)
        if unknown:
            raise StartFailed("spec", 22, f"unknown namespace type {', '.join(sorted(unknown))}")
        created = frozenset(kind for kind in _AT_SPAWN if kinds.get(kind) == "")
        try:
            pid, pidfd, channel = _clone_init(kinds, created, time_offsets, cgroup_fd)
        except OSError as error:
            raise StartFailed.from_error("spawn", error, "unable to create the container's namespaces") from error
        process = cls(pid, pidfd, channel, created)
        if "user" in created:
            try:
                write_mappings(pid, uid_mappings, gid_mappings)
            except (OSError, ValueError) as error:
                process.abort()
                process.close()
                raise StartFailed.from_error("mappings", error, "failed to write the id mappings") from error
        return process

    def prepare(self, sketch: LaunchRequest) -> None:
        """Off the hot path, and at most once: let the child do ahead what a container like `sketch` needs.

        Called when the child sits in its cgroup, since it makes its cgroup namespace then. `configure` may ask for
        something else: what does not fit is made anew. Raises StartFailed when the sketch itself cannot be planned.
        """
        try:
            document = self._document(sketch)
        except ValueError as error:
            raise StartFailed("spec", 22, str(error)) from error
        self._send({**document, "prepare": True}, {})
        if "cgroup" in document["unshare"]:
            self._created |= {"cgroup"}

    def configure(self, request: LaunchRequest, *, stdio: tuple[int, int, int] | None) -> int | None:
        """Send everything; `stdio` are descriptors for 0, 1, 2 (None with a terminal, whose master is returned).

        The console's master is the caller's to close. Raises StartFailed; the child is reaped then.
        """
        spec = request.spec
        process = spec.get("process") or {}
        fds: dict[str, int] = {}
        try:
            try:
                check_spec(spec)
                document = self._document(request)
                self._apply_from_outside(process)
                self._open_descriptors(request, fds, document)
            except (ValueError, KeyError, TypeError) as error:
                text = f"the spec has no {error}" if isinstance(error, KeyError) else str(error)
                raise StartFailed("spec", 22, text) from error
            except OSError as error:
                raise StartFailed.from_error("spawn", error) from error
        except StartFailed:
            close_all(list(fds.values()))
            self.abort()
            raise
        borrowed = _borrowed(request, None if process.get("terminal") else stdio)
        self._hooks = lambda: self._run_hooks(request)
        try:
            self._send(document, {**fds, **borrowed})
        finally:
            close_all(list(fds.values()))
        if not process.get("terminal"):
            return None
        _message, consoles = self._await("console")
        return consoles[0]

    def _document(self, request: LaunchRequest) -> dict[str, Any]:
        spec = request.spec
        kinds = namespace_kinds(spec)
        enter = [kind for kind, path in kinds.items() if path and kind not in {"pid", "user", "time"}]
        enter += [kind for kind in self._created.difference(kinds) if kind in _LEAVABLE]
        surplus = self._created.difference(kinds, _LEAVABLE)
        missing = {kind for kind, path in kinds.items() if not path and kind not in {"cgroup", "mount"}} - self._created
        fixed = missing.intersection({"pid", "user", "time"}) or surplus
        if fixed:
            raise ValueError(f"the {', '.join(sorted(fixed))} namespace was settled when the process was made")
        process = spec["process"]
        if request.renew_network and kinds.get("network") == "":
            missing |= {"network"}
        seccomp, flags = compiled_seccomp(spec, request.seccomp_filter)
        return {
            "spec": spec,
            "id": request.container_id,
            "pid": self.pid,
            "bundle": request.bundle,
            "rootfs": request.rootfs,
            "interfaces": request.interfaces,
            "enter": enter,
            "unshare": [kind for kind in ("cgroup", "mount") if kinds.get(kind) == ""] + sorted(missing),
            "own": [kind for kind, path in kinds.items() if not path or kind == "cgroup"],
            "user_namespace": "user" in kinds,
            "keyring": f"_ses.{request.container_id}" if request.keyring and request.container_id else "",
            "capabilities": capability_masks(process),
            "seccomp": seccomp,
            "seccomp_flags": flags,
            "init": request.init,
            "no_pivot": request.no_pivot,
            "trace": request.trace,
        }

    def _open_descriptors(self, request: LaunchRequest, fds: dict[str, int], document: dict[str, Any]) -> None:
        """Fill `fds`: namespaces to enter, sources of mounts, the root if init is not to mount it."""
        kinds = namespace_kinds(request.spec)
        for kind in document["enter"]:
            path = kinds.get(kind) or f"/proc/self/ns/{TYPES[kind][1]}"
            fds[f"ns.{kind}"] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        user = document["user_namespace"]
        sources = open_sources(request.spec, bundle=request.bundle, pid=self.pid, user_namespace=user)
        fds.update((f"mount.{index}", fd) for index, fd in sources.items())
        if request.root_fd >= 0:
            fds[f"mount.{ROOT_SOURCE}"] = os.dup(request.root_fd)
            document["root_prepared"] = True
        elif user:
            fds.update((f"mount.{index}", fd) for index, fd in open_root(request.spec, request.rootfs).items())
            document["root_prepared"] = True

    def _run_hooks(self, request: LaunchRequest) -> None:
        hooks = request.spec.get("hooks") or {}
        state = container_state(
            container_id=request.container_id,
            status="creating",
            pid=self.pid,
            bundle=request.bundle,
            annotations=request.spec.get("annotations"),
        )
        for kind in ("prestart", "createRuntime"):
            run_hooks(kind, hooks.get(kind) or (), state)


def compiled_seccomp(spec: Mapping[str, Any], ready: bytes | None) -> tuple[bytes | None, int]:
    """The filter's program and flags for a spec. Raises ValueError when it cannot be compiled."""
    seccomp = (spec.get("linux") or {}).get("seccomp")
    if ready is None and not seccomp:
        return None, 0
    if (seccomp or {}).get("listenerPath"):
        raise ValueError("seccomp: listenerPath is not supported")
    flags = 0
    for name in (seccomp or {}).get("flags") or ():
        if name not in FLAGS:
            raise ValueError(f"seccomp: unknown flag {name!r}")
        flags |= FLAGS[name]
    if ready is not None:
        return ready, flags
    # Loaded only here: who starts many containers hands a compiled filter in.
    from corten.errors import InvalidArgument
    from corten.linux.seccomp import compile_filter

    try:
        return compile_filter(seccomp or {}), flags
    except InvalidArgument as error:
        raise ValueError(str(error)) from error


def capability_masks(process: Mapping[str, Any]) -> dict[str, int]:
    """The five sets as integers; names that this kernel does not know are left out."""
    return dict(from_oci(process.get("capabilities"))._asdict())


def _borrowed(request: LaunchRequest, stdio: tuple[int, int, int] | None) -> dict[str, int]:
    """Descriptors of the caller that travel along and stay its own."""
    fds = dict(zip(("stdin", "stdout", "stderr"), stdio, strict=True)) if stdio else {}
    fds.update((f"preserve.{number}", fd) for number, fd in enumerate(request.preserve_fds))
    if request.exec_fifo >= 0:
        fds["fifo"] = request.exec_fifo
    return fds


def _clone_init(
    kinds: Mapping[str, str], created: frozenset[str], time_offsets: Mapping[str, Any] | None, cgroup_fd: int | None
) -> tuple[int, int, Channel]:
    """Clone, with detours for what clone3 cannot do itself: a pid or time namespace by path, time offsets."""
    flags = 0
    for kind in created:
        flags |= TYPES[kind][0]
    back: list[tuple[int, int]] = []  # (descriptor, flag) of our own namespaces, to return to
    parent_end, child_end = Channel.pair()
    try:
        for kind in ("pid", "time"):
            if kinds.get(kind):
                back.append((os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), TYPES[kind][0]))
                fd = os.open(kinds[kind], os.O_RDONLY | os.O_CLOEXEC)
                try:
                    setns(fd, TYPES[kind][0])
                finally:
                    os.close(fd)
        if "time" in created and time_offsets:
            # Offsets must be written before the first process enters, so the namespace is made before the clone.
            back.append((os.open("/proc/self/ns/time", os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWTIME))
            unshare(CLONE_NEWTIME)
            write_time_offsets(time_offsets)
            flags &= ~CLONE_NEWTIME
        if kinds.get("user"):
            pid, pidfd = _clone_through(kinds["user"], flags, cgroup_fd)
        else:
            pid, pidfd = clone_hidden(flags, cgroup_fd=cgroup_fd)
        if pid == 0:
            child.main(child_end, created)
    except BaseException:
        parent_end.close()
        raise
    finally:
        child_end.close()
        for fd, flag in back:
            setns(fd, flag)
            os.close(fd)
    return pid, pidfd, parent_end


def _clone_through(path: str, flags: int, cgroup_fd: int | None) -> tuple[int, int]:
    """Clone from inside the user namespace at `path`, so that it owns the new namespaces: (pid, pidfd), or (0, -1).

    A process that enters a user namespace cannot come back, so one in between does that and clones our child as its
    own sibling (CLONE_PARENT). Its report is the child's pid, or minus an errno.
    """
    user_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    report, reported = os.pipe()
    try:
        between, between_fd = clone_hidden(0, cgroup_fd=None)
        if between == 0:
            number = 0
            try:
                setns(user_fd, CLONE_NEWUSER)
                setresgid(0)
                setresuid(0)
                number, _ = clone3(flags | CLONE_PARENT, cgroup_fd=cgroup_fd)
                if number == 0:
                    return 0, -1
            except OSError as error:
                number = -(error.errno or 5)
            finally:
                if number:
                    os.write(reported, struct.pack("i", number))
                    os._exit(0)
        os.close(between_fd)
        os.waitpid(between, 0)
        answer = os.read(report, 4)
    finally:
        for fd in (user_fd, report, reported):
            os.close(fd)
    number = struct.unpack("i", answer)[0]
    if number < 0:
        raise SyscallError(-number, "clone3", path)
    return number, pidfd_open(number)


def write_time_offsets(offsets: Mapping[str, Any]) -> None:
    """Write OCI `linux.timeOffsets` of the time namespace for children. time_namespaces(7)."""
    text = "".join(
        f"{clock} {value.get('secs') or 0} {value.get('nanosecs') or 0}\n" for clock, value in offsets.items()
    )
    with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
        file.write(text)
