"""Questions over a local build's connection: answered by the client, whatever else it sends, and never left open."""

from __future__ import annotations

import array
import asyncio
import errno
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from corten.build.local.builds import LocalBuilds
from corten.build.local.channel import Channel
from corten.build.local.frames import BadFrame, FrameReader, frame
from corten.build.local.offers import LocalOffers
from corten.errors import CortenError, InvalidArgument, ResourceExhausted, Unavailable


class Peer:
    """The client's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._reader = FrameReader()

    def send(self, message: object, data: bytes = b"", fds: tuple[int, ...] = (), claims: int | None = None) -> None:
        raw = frame(json.dumps(message).encode(), data, len(fds) if claims is None else claims)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        assert self._sock.sendmsg([raw], rights) == len(raw)

    async def receive(self) -> dict[str, Any]:
        while True:
            for found in self._reader.frames():
                message: dict[str, Any] = json.loads(found.message)
                return message
            data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
            assert data
            self._reader.feed(data)


def conversation(talk: Callable[[LocalOffers, Peer, Channel], Awaitable[None]]) -> None:
    """Run `talk`; what the client sends is given to the offers. No descriptor is left."""

    async def run() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        channel, peer = Channel(ours), Peer(theirs)
        offers = LocalOffers(channel)

        async def listen() -> None:
            while (received := await channel.receive()) is not None:
                offers.take(received)

        listening = asyncio.ensure_future(listen())
        try:
            async with asyncio.timeout(20):
                await talk(offers, peer, channel)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            if not listening.cancelled():
                listening.exception()
            await channel.close()
            theirs.close()

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_secret_is_asked_for_by_name() -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        found, missing = asyncio.ensure_future(offers.secret("a")), asyncio.ensure_future(offers.secret("b"))
        first, second = await peer.receive(), await peer.receive()
        assert (first["secret"], second["secret"]) == ("a", "b")
        peer.send({"answer": second["ask"], "found": False})
        peer.send({"answer": first["ask"], "found": True}, b"value\0")
        assert (await found, await missing) == (b"value\0", None)

    conversation(talk)


def test_a_secret_has_a_limit_and_a_refusal_its_words() -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        for answer, data, words in (
            ({"found": True}, b"x" * 512_001, "500 KiB"),
            ({"error": "no such"}, b"", "no such"),
        ):
            asking = asyncio.ensure_future(offers.secret("a"))
            question = await peer.receive()
            loop = asyncio.get_running_loop()
            raw = frame(json.dumps({"answer": question["ask"], **answer}).encode(), data)
            await loop.sock_sendall(peer._sock, raw)
            with pytest.raises(InvalidArgument, match=words):
                await asking

    conversation(talk)


def test_credentials_are_those_of_one_registry() -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        asking = asyncio.ensure_future(offers.credentials(["reg.example"]))
        question = await peer.receive()
        assert question["credentials"] == ["reg.example"]
        peer.send({"answer": question["ask"], "found": True, "auth": {"username": "u", "password": "p"}})
        found = await asking
        assert (found.username, found.password) == ("u", "p")
        asking = asyncio.ensure_future(offers.credentials(["reg.example"]))
        peer.send({"answer": (await peer.receive())["ask"], "found": False, "auth": None})
        assert not await asking

    conversation(talk)


def test_an_agent_is_a_socket_that_the_client_connected() -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        asking = asyncio.ensure_future(offers.agent("default"))
        question = await peer.receive()
        peer.send({"answer": question["ask"], "found": True}, fds=(theirs.fileno(),))
        agent = await asking
        assert agent is not None
        theirs.close()
        await agent.write(b"hello")
        assert ours.recv(10) == b"hello"
        ours.sendall(b"answer")
        assert await agent.read() == b"answer"
        ours.close()
        assert await agent.read() == b""
        await agent.close()

    conversation(talk)


def test_a_client_that_makes_its_agents_socket_wait_holds_up_nobody() -> None:
    """Client and engine have one open file: what the client says of it counts for both."""

    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        asking = asyncio.ensure_future(offers.agent("default"))
        peer.send({"answer": (await peer.receive())["ask"], "found": True}, fds=(theirs.fileno(),))
        agent = await asking
        assert agent is not None
        theirs.setblocking(True)
        release = threading.Timer(10, ours.sendall, [b"too late"])  # for an engine that is held up
        release.start()
        reading = asyncio.ensure_future(agent.read())
        for _ in range(3):
            await asyncio.sleep(0)
        ours.sendall(b"answer")
        release.cancel()
        assert await reading == b"answer"
        theirs.setblocking(True)
        drain = threading.Timer(10, _drain, [ours])
        drain.start()
        writing = asyncio.ensure_future(agent.write(b"x" * (8 << 20)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert drain.is_alive()
        drain.cancel()
        writing.cancel()
        await asyncio.wait([writing])
        await agent.close()
        ours.close()
        theirs.close()

    conversation(talk)


def _drain(sock: socket.socket) -> None:
    left = 8 << 20
    while left:
        left -= len(sock.recv(1 << 20))


def test_a_client_that_sends_without_end_holds_up_nobody() -> None:
    """There is always more to read; the engine's other work goes on all the same."""

    class Flood:
        def __init__(self) -> None:
            self.count = 0

        def setblocking(self, _flag: bool) -> None:
            pass

        def shutdown(self, _how: int) -> None:
            pass

        def recvmsg(self, *_sizes: int) -> tuple[bytes, list[Any], int, None]:
            self.count += 1
            return (b"" if self.count > 1000 else b"\0"), [], 0, None

        def close(self) -> None:
            pass

    async def run() -> int:
        flood = Flood()
        channel = Channel(flood)  # type: ignore[arg-type]
        channel._reader.frames = lambda: iter(())  # type: ignore[method-assign]
        receiving = asyncio.ensure_future(channel.receive())
        for _ in range(5):
            await asyncio.sleep(0)
        seen = flood.count
        assert await receiving is None
        await channel.close()
        return seen

    assert asyncio.run(run()) < 10


@pytest.mark.parametrize("kind", ["file", "pipe", "none", "two", "datagram"])
def test_anything_else_is_no_agent_and_is_closed(kind: str) -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
        read, write = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        fds = {
            "file": (null,), "pipe": (read,), "none": (), "datagram": (pair[0].fileno(),),
            "two": (pair[0].fileno(), pair[1].fileno()),
        }[kind]  # fmt: skip
        asking = asyncio.ensure_future(offers.agent("default"))
        peer.send({"answer": (await peer.receive())["ask"], "found": True}, fds=fds)
        with pytest.raises(InvalidArgument, match="no connection to an ssh agent"):
            await asking
        for sock in pair:
            sock.close()
        for fd in (read, write, null):
            os.close(fd)

    conversation(talk)


@pytest.mark.parametrize("answer", [{"answer": 7}, {"no": 1}, [], {"answer": "x"}])
def test_an_answer_to_no_question_is_an_error_and_its_descriptors_are_closed(answer: object) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        channel, peer = Channel(ours), Peer(theirs)
        read, write = os.pipe()
        peer.send(answer, fds=(read,))
        received = await channel.receive()
        assert received is not None
        with pytest.raises(CortenError):
            LocalOffers(channel).take(received)
        for fd in (read, write):
            os.close(fd)
        await channel.close()
        theirs.close()

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_answer_that_comes_before_its_question_is_sent_is_closed_with_the_connection() -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        async def send(_message: bytes, _data: bytes = b"") -> None:
            with open(os.devnull, "rb") as file:
                peer.send({"answer": 1, "found": True}, fds=(file.fileno(),))
            while not all(waiting.done() for waiting in offers._waiting.values()):
                await asyncio.sleep(0)
            raise BrokenPipeError

        channel.send = send  # type: ignore[method-assign]
        with pytest.raises(CortenError):
            await offers.agent("default")

    conversation(talk)


def test_a_machine_that_has_no_thread_left_closes_what_was_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        channel = Channel(ours)
        channel.discard([os.open(os.devnull, os.O_RDONLY)])
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Unavailable, match="no room"):
                await channel.look(lambda _at: None, 0)
            await channel.close()
        theirs.close()

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_question_ends_with_its_step() -> None:
    async def talk(offers: LocalOffers, peer: Peer, channel: Channel) -> None:
        asking = asyncio.ensure_future(offers.secret("a"))
        await peer.receive()
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert offers._waiting == {}

    conversation(talk)


def wrong_beginning(*frames: tuple[object, tuple[int, ...], int | None]) -> dict[str, Any]:
    """What a client is told that begins so."""

    async def run() -> dict[str, Any]:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        peer = Peer(theirs)
        for message, fds, claims in frames:
            peer.send(message, fds=fds, claims=claims)

        def decode(values: object) -> Any:
            raise InvalidArgument(f"the query {values}")

        async with asyncio.timeout(20):
            await LocalBuilds(classic=None, memory=None).serve(ours, decode)  # type: ignore[arg-type] # not reached
            answer = await peer.receive()
        theirs.close()
        return answer

    before = sorted(os.listdir("/proc/self/fd"))
    answer = asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before
    return answer


def test_a_client_that_begins_wrongly_is_told() -> None:
    directory, null = os.open("/", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    try:
        for contexts, fds, words in (
            ([""], (null,), "no directory"),
            ([""], (), "one descriptor"),
            (["", ""], (directory, directory), "one name"),
            (["a"], (directory,), "the query"),
        ):
            answer = wrong_beginning(({"build": {"query": {"t": "x"}, "contexts": contexts}}, fds, None))
            assert words in answer["error"], answer
        lost = wrong_beginning(({"build": {"contexts": [""]}}, (), 1))
        assert (lost["code"], lost["error"]) == ("bad-frame", "descriptors were lost on the way")
        assert "error" in wrong_beginning(({"build": 7}, (), None))
        assert "error" in wrong_beginning(([], (directory, null), None))
    finally:
        os.close(directory)
        os.close(null)


def test_a_directory_that_does_not_answer_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's file system may be away: the engine's other work goes on while one of its directories is looked at."""
    others = threading.Event()

    def look(_contexts: object) -> None:
        assert others.wait(20)
        raise InvalidArgument("it was looked at")

    monkeypatch.setattr("corten.build.local.builds._check_directories", look)

    async def run() -> dict[str, Any]:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        peer = Peer(theirs)
        directory = os.open("/", os.O_RDONLY)
        peer.send({"build": {"contexts": [""]}}, fds=(directory,))
        os.close(directory)
        builds = LocalBuilds(classic=None, memory=None)  # type: ignore[arg-type] # not reached
        serving = asyncio.ensure_future(builds.serve(ours, lambda _values: None))  # type: ignore[arg-type,return-value]
        for _ in range(10):
            await asyncio.sleep(0)
        others.set()
        async with asyncio.timeout(20):
            answer = await peer.receive()
        await serving
        theirs.close()
        return answer

    assert asyncio.run(run())["error"] == "it was looked at"


def test_a_descriptor_that_is_not_let_go_holds_up_nobody_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """close(2) of a file of FUSE waits for the program behind it (fuse_flush): engine and other clients do not."""
    monkeypatch.setattr("corten.build.local.builds._CONNECTIONS", 1)
    others = threading.Event()
    real = os.close

    def close_all(fds: list[int]) -> None:
        assert others.wait(20)
        for fd in fds:
            real(fd)

    monkeypatch.setattr("corten.build.local.channel.close_all", close_all)

    async def run() -> None:
        builds = LocalBuilds(classic=None, memory=None)  # type: ignore[arg-type] # not reached
        builds.check_room()
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        peer = Peer(theirs)
        null = os.open("/dev/null", os.O_RDONLY)
        peer.send({"build": {"contexts": [""]}}, fds=(null,))
        real(null)
        serving = asyncio.ensure_future(builds.serve(ours, lambda _values: None))  # type: ignore[arg-type,return-value]
        async with asyncio.timeout(20):
            assert "no directory" in (await peer.receive())["error"]
            assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""  # it has hung up
            with pytest.raises(ResourceExhausted):
                builds.check_room()
            others.set()
            await serving
        builds.check_room()
        theirs.close()

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_descriptors_that_nobody_asked_for_are_bounded() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        channel, peer = Channel(ours), Peer(theirs)
        null = os.open("/dev/null", os.O_RDONLY)
        with pytest.raises(BadFrame, match="nobody asked for"):
            for _ in range(10):
                peer.send({"dockerfile": True}, fds=(null,) * 30)
                received = await channel.receive()
                assert received is not None
                received.close()
        os.close(null)
        await channel.close()
        theirs.close()

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_what_many_clients_send_is_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corten.build.local.builds._MEMORY", 1 << 20)

    async def run() -> None:
        builds = LocalBuilds(classic=None, memory=None)  # type: ignore[arg-type] # not reached
        loop = asyncio.get_running_loop()

        async def begun(message: object, data: bytes, *, whole: bool) -> tuple[asyncio.Future[None], socket.socket]:
            ours, theirs = socket.socketpair(socket.AF_UNIX)
            theirs.setblocking(False)
            serving = asyncio.ensure_future(builds.serve(ours, lambda _values: None))  # type: ignore[arg-type,return-value]
            raw = frame(json.dumps(message).encode(), data)
            await loop.sock_sendall(theirs, raw if whole else raw[:-1])
            return serving, theirs

        async with asyncio.timeout(20):
            one = await begun({"dockerfile": True}, b"x" * 600_000, whole=True)
            two = await begun({"dockerfile": True}, b"x" * 300_000, whole=False)
            while builds._sent._left > (1 << 20) - 900_000:
                await asyncio.sleep(0)
            serving, refused = await begun({"dockerfile": True}, b"x" * 200_000, whole=False)
            await serving
            assert b"too much at once" in await loop.sock_recv(refused, 4096)
            refused.close()
            for serving, sock in (one, two):
                assert not serving.done()
                sock.close()
                await serving
            assert builds._sent._left == 1 << 20

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_is_shown_to_its_user_alone_is_asked_for_as_a_tar(monkeypatch: pytest.MonkeyPatch) -> None:
    """FUSE without allow_other: also the descriptor of the user's own process tells the engine nothing."""
    real, directory = os.fstat, os.open("/", os.O_RDONLY)
    wanted = real(directory)

    def fstat(fd: int) -> os.stat_result:
        found = real(fd)
        if os.path.samestat(found, wanted):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return found

    monkeypatch.setattr("os.fstat", fstat)
    answer = wrong_beginning(({"build": {"contexts": [""]}}, (directory,), None))
    os.close(directory)
    assert answer == {
        "code": "bad-frame",
        "error": "context '' cannot be read by the engine: permission denied",
    }
