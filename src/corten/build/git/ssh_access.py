"""What git over ssh needs of a build's client: an agent that signs, and the host keys that are known. Daemon's loop; it
is asked from net threads.

Nothing is asked for before a server has to be connected to, so that a checkout that is kept needs neither. BuildKit
takes whatever key a host shows when it is first asked; here a host's key has to be known, or nobody is talked to: by
the client (its secret GIT_SSH_KNOWN_HOSTS, a file as of sshd(8), which `corten build` offers by itself), by this host's
administrator (/etc/ssh/ssh_known_hosts), or as the published one of a few public hosts (ssh_hosts.py).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from corten.build.face import AgentStream, Offers
from corten.build.git.error import GitError
from corten.build.ops.agent_socket import passed
from corten.engine.images.settled import settled
from corten.registry.cancel import Cancel

AGENT = "default"  # the one that BuildKit takes
HOST_KEYS = "GIT_SSH_KNOWN_HOSTS"
_SYSTEM = "/etc/ssh/ssh_known_hosts"
_LIMIT = 1 << 20
T = TypeVar("T")


class SshAccess:
    """For one fetch; made and closed on the loop, used from one thread, which waits `timeout_s` for an answer: others
    need it, too."""

    def __init__(self, offers: Offers, timeout_s: float) -> None:
        self._offers = offers
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._passing: set[asyncio.Task[None]] = set()

    # -- net threads

    def known_hosts(self, cancel: Cancel) -> str:
        """The lines of known_hosts files. Raises what the client's answer raises, Cancelled."""
        given = self._asked(self._offers.secret(HOST_KEYS), cancel)
        try:
            with open(_SYSTEM, "rb") as file:
                system = file.read(_LIMIT)
        except OSError:
            system = b""
        return b"\n".join((given or b"", system, b"")).decode("utf-8", "replace")

    def agent(self, cancel: Cancel) -> socket.socket:
        """A connection to the client's agent, the caller's to close. Raises GitError when it forwards none."""
        stream = self._asked(self._offers.agent(AGENT), cancel)
        if stream is None:
            raise GitError(
                "git over ssh needs an agent of the client's, and it forwards none",
                hint=f"build with --ssh {AGENT}",
            )
        ours, theirs = socket.socketpair()
        try:
            self._asked(self._begin(stream, ours), cancel)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return theirs

    def _asked(self, question: Coroutine[Any, Any, T], cancel: Cancel) -> T:
        """The answer that comes on the loop."""
        waiting = asyncio.run_coroutine_threadsafe(question, self._loop)

        def interrupt() -> None:
            waiting.cancel()

        with cancel.interrupting(interrupt):
            try:
                return waiting.result(self._timeout_s)
            except concurrent.futures.CancelledError:
                cancel.check()
                raise
            except TimeoutError as error:
                waiting.cancel()
                raise GitError(f"the client has not said in {self._timeout_s:.0f} s what git over ssh needs") from error

    # -- the loop

    async def _begin(self, stream: AgentStream, ours: socket.socket) -> None:
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        task = asyncio.ensure_future(passed(reader, writer, stream))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def close(self) -> None:
        """Hang up on the agent."""
        for task in self._passing:
            task.cancel()
        await settled(self._passing)


@asynccontextmanager
async def ssh_access(offers: Offers, timeout_s: float) -> AsyncIterator[SshAccess]:
    """What a client offers, as long as the block."""
    access = SshAccess(offers, timeout_s)
    try:
        yield access
    finally:
        await access.close()
