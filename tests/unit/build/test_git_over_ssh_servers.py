"""Servers of git over ssh that want what this engine does not do, and clients that do not answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from corten.build.git.error import GitError
from corten.build.git.ssh import SshExchange
from corten.build.git.ssh_access import SshAccess
from corten.build.git.ssh_agent import Agent
from corten.cli.build.key_agent import KeyAgent
from corten.registry.cancel import Cancel
from corten.registry.inward import InwardPolicy
from corten.registry.timings import Timings

LIMIT = 30


class Access:
    """A client with one key, who knows one host."""

    def __init__(self, key: Path, known: str) -> None:
        self._agent = KeyAgent([str(key)])
        self._known = known

    def agent(self, _cancel: Cancel) -> socket.socket:
        return socket.socket(fileno=self._agent.connect().detach())

    def known_hosts(self, _cancel: Cancel) -> str:
        return self._known


@pytest.fixture
def squeezing(tmp_path: Path) -> Iterator[tuple[int, Access]]:
    """A server that compresses, or says nothing."""
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (tmp_path / "key").write_bytes(user.export_private_key())
    authorized = asyncssh.import_authorized_keys(user.export_public_key().decode())
    ready = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()

    async def serve() -> asyncssh.SSHAcceptor:
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=authorized,
            compression_algs=["zlib@openssh.com"], process_factory=lambda process: process.exit(0), encoding=None,
        )  # fmt: skip
        ports.append(server.get_port())
        ready.set()
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(serve())
        loop.run_forever()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(LIMIT)
    known = f"[127.0.0.1]:{ports[0]} {host.export_public_key().decode()}"
    try:
        yield ports[0], Access(tmp_path / "key", known)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_packets_are_not_unpacked(squeezing: tuple[int, Access]) -> None:
    """Some KiB of zeros of each would be a thousand times as many bytes."""
    port, access = squeezing
    client: Any = access
    exchange = SshExchange(client, InwardPolicy(), f"ssh://127.0.0.1:{port}/x", Timings(), Cancel())
    with exchange, pytest.raises(GitError, match=r"compression|connection lost"):
        exchange.greeting()


async def test_a_client_that_does_not_answer_is_not_waited_for() -> None:
    class Silent:
        async def secret(self, _name: str) -> bytes | None:
            await asyncio.Event().wait()
            return None

        agent = secret

    offers: Any = Silent()
    access = SshAccess(offers, 0.01)
    for ask in (access.known_hosts, access.agent):
        with pytest.raises(GitError, match="the client has not said"):
            await asyncio.to_thread(ask, Cancel())
    await access.close()


def test_an_agent_has_so_long_for_all_of_an_answer() -> None:
    """One that gives a byte now and then would keep a thread for days."""
    ours, theirs = socket.socketpair()
    enough = threading.Event()

    def drip() -> None:
        ours.sendall((1000).to_bytes(4, "big"))
        while not enough.wait(0.01):
            ours.sendall(b"\0")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(GitError, match="timed out"):
            Agent(theirs, 0.1).identities()
    finally:
        enough.set()
        thread.join()
        ours.close()
        theirs.close()
