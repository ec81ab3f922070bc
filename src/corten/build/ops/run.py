"""RUN: a container of the engine like any other, whose changes become a layer. Daemon's loop.

It is created, started and removed by the same use cases as `docker run`, with the same snapshots, networks and limits.
Its record says that it is a build's: a daemon that starts again removes what a killed one left. Whatever is still
running in it when its first process ends is killed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from msgspec import UNSET

from corten.build.entitlements import DeviceInfo, chosen_of
from corten.build.face import Watcher
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Run
from corten.build.ops.failed_step import KeptStep, shell_request
from corten.build.ops.foreign import explanation, program_of
from corten.build.ops.mounts import StepMounts
from corten.build.ops.offered import OfferedMounts, socket_variable
from corten.build.ops.store import LayerStore
from corten.build.trees.tree import resolve
from corten.engine.containers.live import Container, Ended, PendingAttach
from corten.engine.images.catalog import ResolvedImage
from corten.engine.images.settled import never_half_done
from corten.engine.platforms import architecture_of
from corten.errors import CortenError, NotFound
from corten.lib.faultpoint import reach
from corten.linux.binfmt import handlers
from corten.spec.docker.container import CreateRequest, CreateResponse
from corten.spec.docker.hostconfig import DeviceRequest, HostConfig, LogConfig, str_slice
from corten.spec.docker.hostconfig import Mount as HostMount
from corten.spec.oci_image import Image, ImageConfig, RootFS
from corten.spec.platform import host_platform

OWNER = "build"  # in the records of a build's containers
_FRAME = 8
_NOT_EXECUTED = (126, 255)


class StepFailed(CortenError):
    """A command has ended with another code than 0: `exit_code`. `why` is what is known of the cause; `is_kept`: the
    client may look at what it left."""

    code = "build-step-failed"
    is_kept = False

    def __init__(self, message: str, exit_code: int, *, why: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.why = why


class Containers(Protocol):
    """The container use cases (engine.containers.service)."""

    async def create(
        self,
        name: str,
        request: CreateRequest,
        platform: str = "",
        *,
        base: ResolvedImage | None = None,
        owner: str = "",
    ) -> CreateResponse:
        """A container upon `base`."""

    def find(self, reference: str) -> Container:
        """By id."""

    async def start(self, reference: str) -> None:
        """Start it."""

    def wait(self, reference: str, condition: str) -> asyncio.Future[Ended]:
        """The exit code."""

    def disown(self, reference: str) -> None:
        """Let it stay: it is the user's from now on."""

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, killed first if `force`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What the request says for all RUN steps: limits and network (`host`), and whether containers stay afterwards.
    `devices` are those of the host, for RUN --device; `kept` has room for the first step that fails."""

    host: HostConfig
    remove: bool = True
    remove_failed: bool = False
    devices: Mapping[str, DeviceInfo] = field(default_factory=dict)
    kept: KeptStep | None = None

    @property
    def is_limited(self) -> bool:
        """Whether RUN steps have an egress list."""
        return self.host.egress is not None and self.host.egress is not UNSET


class Runner:
    """Runs commands for one build."""

    def __init__(
        self,
        *,
        containers: Containers,
        store: LayerStore,
        mounts: StepMounts,
        offered: OfferedMounts,
        settings: RunSettings,
        watcher: Watcher,
    ) -> None:
        self._containers = containers
        self._store = store
        self._mounts = mounts
        self._offered = offered
        self._settings = settings
        self._watcher = watcher

    async def close(self) -> None:
        """The build is over."""
        await self._mounts.close()

    async def digest(self, vertex: Vertex, run: Run, inputs: Sequence[FileSystem | None]) -> str:
        """What the command's mounts show it. Raises NotFound, OSError."""
        return await self._store.work(self._mounts.digest, vertex, run, inputs)

    async def run(self, vertex: Vertex, run: Run, inputs: Sequence[FileSystem | None]) -> FileSystem:
        """The file system after the command. Raises StepFailed, and what create and start raise."""
        below = inputs[0]
        assert below is not None
        async with AsyncExitStack() as closing:
            offered = await closing.enter_async_context(self._offered.hold(run.mounts))
            held = await closing.enter_async_context(self._mounts.hold(vertex, run, inputs))
            mounts = [*held, *offered.mounts]
            devices = chosen_of(vertex, self._settings.devices)
            targets = [mount.target for mount in mounts]
            targets += [target for device in devices for target in self._settings.devices[device].targets]
            stubs = await self._store.work(self._stubs, below, targets) if targets else []
            hidden = (*run.secret_env, *offered.hidden_env)
            try:
                return await self._run(vertex, self._request(run, below, mounts, devices), below, stubs, hidden)
            except StepFailed as error:
                if error.is_kept and self._settings.kept is not None:
                    self._settings.kept.take_mounts(closing.pop_all())
                why = await self._store.work(self._why, below, run) if error.exit_code in _NOT_EXECUTED else ""
                if not why:
                    raise
                raise StepFailed(f"{error.message}: {why}", error.exit_code, why=why) from error

    def _why(self, below: FileSystem, run: Run) -> str:
        """What is to be said of a command that could perhaps not be executed. Blocking."""
        with self._store.tree(below) as tree:
            return explanation(architecture_of(program_of(tree, run)), host_platform(), handlers())

    def _stubs(self, below: FileSystem, targets: Sequence[str]) -> list[str]:
        """Where the engine will make directories for mounts, deepest first. Blocking."""
        missing: set[str] = set()
        with self._store.tree(below) as tree:
            for target in targets:
                path = resolve(tree, target)
                while path and tree.lstat(path) is None:
                    missing.add(path)
                    path = path.rpartition("/")[0]
        return sorted(missing, key=lambda path: path.count("/"), reverse=True)

    async def _run(
        self,
        vertex: Vertex,
        request: CreateRequest,
        below: FileSystem,
        stubs: Sequence[str],
        hidden: tuple[str, ...],
    ) -> FileSystem:
        created = await self._containers.create("", request, base=_base(below), owner=OWNER)
        cid = created.id
        goes = True  # one that was given up goes in any case
        try:
            reach("build.container.created")
            self._watcher.running(vertex, cid)
            code = await self._until_end(vertex, cid, hidden)
            reach("build.container.ended")
            goes = self._settings.remove_failed if code else self._settings.remove
            if code:
                command = " ".join(str_slice(request.cmd) or [])
                failed = StepFailed(f"The command '{command}' returned a non-zero code: {code}", code)
                failed.is_kept = await self._keep(request, below, cid)
                raise failed
            return await self._store.add_snapshot(below, cid, stubs)
        finally:
            await self._let_go(vertex, cid, goes=goes)

    async def keep(self, below: FileSystem, config: ImageConfig) -> None:
        """Make the container in which people may look at what a step without a command failed on: the file system that
        it was to change, as `config` says for commands."""
        host = self._settings.host
        egress = tuple(host.egress or ()) if self._settings.is_limited and host.egress is not UNSET else None
        shell = Run(
            args=("/bin/sh",),
            env=tuple(config.env or ()),
            working_dir=config.working_dir or "/",
            egress=egress,
        )
        await self._keep(self._request(shell, below, [], ()), below)

    async def _keep(self, request: CreateRequest, below: FileSystem, cid: str = "") -> bool:
        """Make the container in which people may look at what a failed command has left, in the container `cid` if it
        was one; whether there is one now."""
        kept = self._settings.kept
        if kept is None or not kept.claim():
            return False
        with contextlib.suppress(CortenError, OSError):  # that the command failed is what the client has to hear
            left = await self._store.add_snapshot(below, cid) if cid else below
            made = await self._containers.create("", shell_request(request), base=_base(left), owner=OWNER)
            kept.take(self._containers, made)
        return bool(kept.container)

    async def _until_end(self, vertex: Vertex, cid: str, hidden: tuple[str, ...]) -> int:
        """Start it and pass its output on until it has ended; its record does not show the variables `hidden`."""
        container = self._containers.find(cid)
        container.hidden_env = hidden
        ours, theirs = socket.socketpair()
        container.pending.append(
            PendingAttach(
                fd=theirs.detach(),
                stdin=False,
                stdout=True,
                stderr=True,
                stream=True,
                logs=False,
                preface=b"",
                detach_keys="",
            )
        )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            waiter = self._containers.wait(cid, "next-exit")
            await self._containers.start(cid)
            await _frames(reader, partial(self._watcher.output, vertex))
            return (await waiter).code
        finally:
            writer.close()

    @never_half_done
    async def _let_go(self, vertex: Vertex, cid: str, *, goes: bool) -> None:
        """Remove the container; or leave it for people to look at: a failed one without `forcerm`, all with `rm=0`."""
        with contextlib.suppress(NotFound):  # somebody has removed it
            if not goes:
                self._containers.disown(cid)
                return
            await self._containers.remove(cid, force=True, volumes=True)
            self._watcher.removed(vertex, cid)

    def _request(self, run: Run, below: FileSystem, mounts: list[HostMount], devices: Sequence[str]) -> CreateRequest:
        return CreateRequest(
            image=below.chain_id or "scratch",
            entrypoint=[],
            cmd=list(run.args),
            env=[*run.env, *socket_variable(run.mounts, run.env)],
            user=run.user,
            working_dir=run.working_dir,
            host_config=_replaced(self._settings.host, run, mounts, devices),
        )


def _replaced(host: HostConfig, run: Run, mounts: list[HostMount], devices: Sequence[str]) -> HostConfig:
    fields = {name: getattr(host, name) for name in host.__struct_fields__}
    fields["log_config"] = LogConfig(type="none")
    fields["network_mode"] = host.network_mode if run.network == "default" else run.network
    fields["extra_hosts"] = list(run.hosts) or None
    is_unlimited = run.egress is None or run.network == "none"  # where there is nothing to limit
    fields["egress"] = UNSET if is_unlimited else list(run.egress or ())
    fields["mounts"] = mounts or None
    fields["privileged"] = run.security == "insecure"
    if devices:
        fields["device_requests"] = [DeviceRequest(driver="cdi", device_ids=list(devices))]
    return HostConfig(**fields)


def _base(below: FileSystem) -> ResolvedImage:
    """A file system as an image without defaults: the step's own settings are complete."""
    platform = host_platform()
    image = Image(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant or None,
        config=ImageConfig(),
        rootfs=RootFS(diff_ids=[layer.diff_id for layer in below.layers]),
    )
    return ResolvedImage(id=below.chain_id, reference="", config=image, chain_id=below.chain_id)


async def _frames(reader: asyncio.StreamReader, on_data: Callable[[int, bytes], Awaitable[None]]) -> None:
    """Both output streams, as the shim frames them, to their end."""
    while True:
        try:
            head = await reader.readexactly(_FRAME)
            data = await reader.readexactly(int.from_bytes(head[4:], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        await on_data(head[0], data)
