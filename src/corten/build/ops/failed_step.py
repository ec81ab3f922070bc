"""A step that has failed, kept for its client to look at: a container in its file system, for a shell. Daemon's loop.

It has what the step had: file system with what the command wrote, mounts, environment, user, directory, network and
limits. It is a build's container like any other: a daemon that starts again removes it. It goes when the shell has
ended, or when the client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Protocol

from msgspec.structs import replace

from corten.engine.containers.live import Ended
from corten.engine.images.settled import never_half_done
from corten.errors import NotFound
from corten.spec.docker.container import CreateRequest, CreateResponse
from corten.spec.docker.hostconfig import str_slice

_SHELLS = ("sh", "bash", "ash", "dash", "zsh", "ksh", "fish")
_SHELL = "/bin/sh"


class Keeper(Protocol):
    """What becomes of the container: the container use cases."""

    def wait(self, reference: str, condition: str) -> asyncio.Future[Ended]:
        """The exit code."""

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, killed first if `force`."""


class KeptStep:
    """Room for the first step of a build that fails."""

    def __init__(self) -> None:
        self.container = ""
        self._is_claimed = False
        self._keeper: Keeper | None = None
        self._ends: list[asyncio.Future[Ended]] = []
        self._mounts = AsyncExitStack()

    def claim(self) -> bool:
        """Whether the caller's step is the first that fails, and may be kept."""
        is_first, self._is_claimed = not self._is_claimed, True
        return is_first

    def take(self, keeper: Keeper, created: CreateResponse) -> None:
        """Keep a container that was made for a shell."""
        self._keeper, self.container = keeper, created.id
        self._ends = [keeper.wait(created.id, condition) for condition in ("next-exit", "removed")]

    def take_mounts(self, mounts: AsyncExitStack) -> None:
        """Keep what the step's mounts need."""
        self._mounts = mounts

    async def shell_ended(self) -> None:
        """Wait until somebody has opened the shell and left it, or has removed the container."""
        if self._ends:
            await asyncio.wait(self._ends, return_when=asyncio.FIRST_COMPLETED)

    @never_half_done
    async def close(self) -> None:
        """Let go of everything."""
        for end in self._ends:
            end.cancel()
        try:
            if self._keeper is not None:
                with contextlib.suppress(NotFound):  # somebody has removed it
                    await self._keeper.remove(self.container, force=True, volumes=True)
        finally:
            await self._mounts.aclose()  # secrets are in there


def shell_request(step: CreateRequest) -> CreateRequest:
    """The step's container with a shell on a terminal in place of its command: the one that ran the command, if it was
    one."""
    command = str_slice(step.cmd) or []
    name = command[0] if command else ""
    shell = name if name.startswith("/") and name.rpartition("/")[2] in _SHELLS else _SHELL
    return replace(
        step, cmd=[shell], tty=True, open_stdin=True, stdin_once=True,
        attach_stdin=True, attach_stdout=True, attach_stderr=True,
    )  # fmt: skip
