"""`RUN --mount=type=secret|ssh`: what the client offers, in one step's container and nowhere else. Daemon's loop.

Secrets are files of a tmpfs that is mounted for the step below `directory`, or variables that only the step's process
gets; agents are sockets beside them (`agent_socket.py`). Neither is in a record, a log or a cache key. What a killed
daemon left mounted is removed at the next start (`mount_homes.sweep`).

Texts: BuildKit's, which clients show (`solver/llbsolver/mounts/mount.go`, `session/secrets/secrets.go`).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from corten.build.face import AgentStream, Offers
from corten.build.operations import Mount
from corten.build.ops.agent_socket import AgentSocket
from corten.build.ops.mount_homes import MOUNTED, remove_home
from corten.engine.images.settled import never_half_done
from corten.errors import InvalidArgument, NotFound, ResourceExhausted
from corten.lib import blocking
from corten.linux.errors import SyscallError
from corten.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    move_mount,
    new_filesystem,
)
from corten.spec.docker.hostconfig import Mount as HostMount

SOCKET_VARIABLE = "SSH_AUTH_SOCK"
_SECRET_LIMIT = 500 << 10  # bytes, as the clients' own
_VARIABLE_LIMIT = 128 << 10  # the kernel's, of one string (execve(2), MAX_ARG_STRLEN)
_PAGE = 4096
_ROOM = 64 << 10
_WITHOUT_SWAP: list[tuple[str, str | None]] = [("noswap", None)]
_ATTRIBUTES = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What a step gets: mounts, and variables that must not be recorded."""

    mounts: tuple[HostMount, ...] = ()
    hidden_env: tuple[str, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class _Found:
    """What the client has of what a step wants."""

    files: list[tuple[Mount, bytes]] = field(default_factory=list, repr=False)
    env: list[str] = field(default_factory=list, repr=False)
    agents: list[tuple[Mount, AgentStream]] = field(default_factory=list)


class OfferedMounts:
    """Secrets and agents of one build's steps, below `directory`."""

    def __init__(self, *, offers: Offers, directory: Path) -> None:
        self._offers = offers
        self._directory = directory

    @asynccontextmanager
    async def hold(self, mounts: Sequence[Mount]) -> AsyncIterator[Offered]:
        """What the client has of them, there as long as the block. Raises NotFound for what is missing and required,
        InvalidArgument for a secret that cannot be a variable, OSError."""
        wanted = [mount for mount in mounts if mount.kind in ("secret", "ssh")]
        if not wanted:
            yield Offered()
            return
        async with AsyncExitStack() as closing:
            found = _Found()
            for mount in wanted:
                if mount.kind == "secret":
                    await self._ask_secret(mount, found)
                else:
                    await self._ask_agent(mount, found, closing)
            shown: list[HostMount] = []
            if found.files or found.agents:
                home = self._directory / secrets.token_hex(32)
                closing.push_async_callback(_remove, home)
                target = await blocking.run(_make, home, found.files)
                for number, (mount, _) in enumerate(found.files):
                    shown.append(_bind(mount, target / f"secret.{number}", read_only=True))
                for number, (mount, first) in enumerate(found.agents):
                    path = target / f"agent.{number}"
                    await closing.enter_async_context(AgentSocket(self._offers, mount, first).open(path))
                    shown.append(_bind(mount, path, read_only=False))
            yield Offered(mounts=tuple(shown), hidden_env=tuple(found.env))

    async def _ask_secret(self, mount: Mount, found: _Found) -> None:
        value = await self._offers.secret(mount.id)
        if value is None:
            if mount.required:
                raise NotFound(f"secret {mount.id}: not found")
            return
        if len(value) > _SECRET_LIMIT:
            raise ResourceExhausted(f"secret {mount.id} has {len(value)} bytes, more than the limit of {_SECRET_LIMIT}")
        if mount.env:
            found.env.append(_variable(mount, value))
        if mount.target:
            found.files.append((mount, value))

    async def _ask_agent(self, mount: Mount, found: _Found, closing: AsyncExitStack) -> None:
        try:
            first = await self._offers.agent(mount.id)
        except NotFound:
            if mount.required:
                raise
            return
        if first is not None:
            closing.push_async_callback(first.close)
            found.agents.append((mount, first))
        elif mount.required:
            raise NotFound(f'no SSH key "{mount.id}" forwarded from the client')


def socket_variable(mounts: Sequence[Mount], env: Sequence[str]) -> list[str]:
    """SSH_AUTH_SOCK for the first agent's socket, also when the client has none; nothing when the step sets it."""
    first = next((mount.target for mount in mounts if mount.kind == "ssh"), "")
    if not first or any(item.startswith(f"{SOCKET_VARIABLE}=") for item in env):
        return []
    return [f"{SOCKET_VARIABLE}={first}"]


def _variable(mount: Mount, value: bytes) -> str:
    if b"\0" in value:
        raise InvalidArgument(f"secret {mount.id} has a zero byte, which no variable can hold: mount it as a file")
    if len(value) + len(mount.env) + 2 > _VARIABLE_LIMIT:
        raise InvalidArgument(f"secret {mount.id} is too long for a variable: mount it as a file")
    return f"{mount.env}={os.fsdecode(value)}"


def _bind(mount: Mount, source: Path, *, read_only: bool) -> HostMount:
    return HostMount(type="bind", source=str(source), target=mount.target, read_only=read_only)


def _make(home: Path, files: Sequence[tuple[Mount, bytes]]) -> Path:
    """A tmpfs with the secrets, mounted where only root gets. Blocking."""
    home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.mkdir(mode=0o700)
    target = home / MOUNTED
    target.mkdir(mode=0o700)
    fd = _tmpfs(sum(len(value) + _PAGE for _, value in files) + _ROOM)
    try:
        for number, (mount, value) in enumerate(files):
            _write(fd, f"secret.{number}", mount, value)
        at = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            move_mount(fd, at)
        finally:
            os.close(at)
    finally:
        os.close(fd)
    return target


def _tmpfs(size: int) -> int:
    """A detached tmpfs, which is never swapped out where the kernel can promise that (Linux 6.4)."""
    options: list[tuple[str, str | None]] = [("size", str(size)), ("mode", "0700")]
    try:
        return new_filesystem("tmpfs", options + _WITHOUT_SWAP, _ATTRIBUTES)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        return new_filesystem("tmpfs", options, _ATTRIBUTES)


def _write(directory: int, name: str, mount: Mount, value: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with os.fdopen(fd, "wb") as file:
        file.write(value)
        os.fchown(file.fileno(), mount.uid, mount.gid)
        os.fchmod(file.fileno(), mount.mode & 0o777)


@never_half_done
async def _remove(home: Path) -> None:
    await blocking.run(remove_home, home)
