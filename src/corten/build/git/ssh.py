"""git over ssh: `git-upload-pack` on the other side, by asyncssh. Blocking; net threads.

The connection is made by the policy for what builds fetch, and handed to asyncssh: it resolves no names, reads no files
(no configuration, no keys) and finds no agent by itself. The host's key is checked before anything is said; who the
client is is proved by signatures of its agent alone. asyncssh has an event loop of its own here, which turns only while
this thread waits for the server. Sources: RFC 4252 (publickey), RFC 4254 (exec), gitprotocol-pack(5).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, Self, TypeVar

import asyncssh

from corten.build.git.error import GitError
from corten.build.git.packets import PacketReader, remote_error
from corten.build.git.ssh_access import HOST_KEYS, SshAccess
from corten.build.git.ssh_agent import Agent
from corten.build.git.ssh_hosts import PUBLISHED
from corten.build.git.ssh_target import ssh_target
from corten.registry.cancel import Cancel
from corten.registry.errors import RegistryUnreachable
from corten.registry.guarded_dial import dial
from corten.registry.inward import InwardPolicy
from corten.registry.timings import Timings

asyncssh.set_log_level(logging.WARNING)  # each connection and each login would be told
_CHUNK = 256 << 10
_SAID = 4 << 10
T = TypeVar("T")


class SshExchange:
    """One connection, on which the requests follow each other."""

    def __init__(
        self, access: SshAccess | None, policy: InwardPolicy, remote: str, timings: Timings, cancel: Cancel
    ) -> None:
        self._access = access
        self._policy = policy
        self._target = ssh_target(remote)
        self._timings = timings
        self._cancel = cancel
        self._runner = asyncio.Runner()
        self._sockets: list[socket.socket] = []
        self._connection: asyncssh.SSHClientConnection | None = None
        self._process: asyncssh.SSHClientProcess[bytes] | None = None
        self._reader: PacketReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._connection is not None:
                self._connection.abort()  # nothing more is wanted
                with suppress(TimeoutError, OSError, asyncssh.Error):
                    self._runner.run(asyncio.wait_for(self._connection.wait_closed(), self._timings.stall_s))
        finally:
            self._runner.close()
            for sock in self._sockets:
                sock.close()

    def greeting(self) -> PacketReader:
        """Connect, log in, and name the repository."""
        if self._access is None:
            raise GitError("git over ssh is for a build's own sources")
        agent = Agent(self._kept(self._access.agent(self._cancel)), self._timings.stall_s)
        hosts = self._known(self._access.known_hosts(self._cancel))
        self._cancel.check()
        host, port = self._target.host, self._target.port
        try:
            sock = self._kept(dial(self._policy, host, port, self._timings.connect_s))
        except OSError as error:
            reason = error.strerror or str(error)
            raise RegistryUnreachable(f"dial tcp {host}:{port}: {reason.lower()}") from error
        self._waited(self._begin(sock, agent, hosts))
        self._reader = PacketReader(self._chunks())
        return self._reader

    def ask(self, request: bytes) -> PacketReader:
        """Send it, and read on."""
        assert self._reader is not None
        self._waited(self._say(request))
        return self._reader

    def _kept(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    def _known(self, text: str) -> asyncssh.SSHKnownHosts:
        """The host keys that count. Raises GitError where none is known of the host."""
        host, port = self._target.host, self._target.port
        for known in (text, text + PUBLISHED):
            try:
                found = asyncssh.import_known_hosts(known)
            except ValueError as error:
                raise GitError(f"the host keys that are known cannot be read: {error}") from None
            keys, authorities, *_rest = found.match(host, "", None if port == asyncssh.DEFAULT_PORT else port)
            if keys or authorities:
                return found
        raise GitError(
            f"the host key of {host} is not known",
            hint=f"offer a known_hosts file that has it: --secret id={HOST_KEYS},src=$HOME/.ssh/known_hosts",
        )

    # -- the connection

    async def _begin(self, sock: socket.socket, agent: Agent, hosts: asyncssh.SSHKnownHosts) -> None:
        target = self._target
        keys = [asyncssh.SSHAgentKeyPair(agent, *key) for key in agent.identities()]  # type: ignore[arg-type]
        if not keys:
            raise GitError("the client's agent has no keys", hint="ssh-add one")
        options: dict[str, Any] = {
            "config": None, "known_hosts": hosts, "client_keys": keys, "agent_path": None, "agent_forwarding": False,
            "preferred_auth": ["publickey"], "password": None, "gss_host": None, "x509_trusted_certs": None,
            "client_host_keysign": False, "login_timeout": self._timings.stall_s, "username": target.user,
            "compression_algs": ["none"],  # packs are compressed, and a packet must not become a thousand
        }  # fmt: skip
        sock.setblocking(False)
        try:
            self._connection = await asyncssh.connect(target.host, target.port, sock=sock, **options)
        except asyncssh.HostKeyNotVerifiable:
            raise GitError(
                f"the host key of {target.host} is not the one that is known: it has changed, or it is another host",
                hint=f"if it has, offer a known_hosts file with the new one: --secret id={HOST_KEYS},src=FILE",
            ) from None
        except asyncssh.PermissionDenied:
            raise GitError(
                f"authentication failed: {target.host} takes none of the agent's keys for {target.user}"
            ) from None
        self._process = await self._connection.create_process(
            target.command, env={"GIT_PROTOCOL": "version=2"}, encoding=None, request_pty=False
        )

    async def _say(self, data: bytes) -> None:
        assert self._process is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    def _chunks(self) -> Iterator[bytes]:
        waited, came, is_first = 0.0, 0, True
        while True:
            begun = time.monotonic()
            data = self._waited(self._read())
            if not data:
                if is_first:
                    raise self._refusal(self._waited(self._read_errors()))
                return
            # only the wait counts: who takes the bytes may be slow, too
            waited, came, is_first = waited + time.monotonic() - begun, came + len(data), False
            if waited >= self._timings.stall_s:
                if came < waited * self._timings.floor_bytes:
                    raise GitError(f"the server sent only {came} bytes in {waited:.0f} s")
                waited, came = 0.0, 0
            yield data

    async def _read(self) -> bytes:
        assert self._process is not None
        return await self._process.stdout.read(_CHUNK)

    async def _read_errors(self) -> bytes:
        assert self._process is not None
        return await self._process.stderr.read(_SAID)

    @staticmethod
    def _refusal(said: bytes) -> GitError:
        """What the server's program has said instead of speaking git's protocol."""
        text = said.decode("utf-8", "replace")
        return remote_error(text) if text.strip() else GitError("the server broke off before it said anything")

    def _waited(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the loop turn until something is done. Raises GitError, Cancelled."""
        with self._cancel.interrupting(self._wake):
            try:
                return self._runner.run(asyncio.wait_for(work, self._timings.stall_s))
            except TimeoutError as error:
                self._cancel.check()
                raise GitError(f"the server is silent since {self._timings.stall_s:.0f} s") from error
            except GitError:
                self._cancel.check()  # which hangs up on the agent, too
                raise
            except (OSError, asyncssh.Error, ValueError) as error:  # the last one: keys and names that are none
                self._cancel.check()
                text = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
                raise GitError(f"the connection broke: {text.lower()}") from error

    def _wake(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
