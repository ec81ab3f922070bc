"""What a session's client is asked for besides files, and what it is sent: secrets, agents, credentials, results."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.unit.build.session_peer import Peer
from tests.unit.build.trees import tree_of

from corten.build.session import offers as module
from corten.build.session.client import BytesMessage
from corten.build.session.filters import followed, headers
from corten.build.session.listing import DIRECTORY, SYMLINK
from corten.build.session.offers import SessionOffers
from corten.build.session.packet import REQ, BadPacket, Packet, encode_packet
from corten.build.session.sender import send_tar, send_tree
from corten.build.trees.mounted import MountedTree
from corten.errors import InvalidArgument, NotFound
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.wire import decode, encode
from corten.registry.credentials import ANONYMOUS


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


def test_a_secret_is_asked_for_each_time_and_may_be_missing() -> None:
    peer = Peer()
    assert run(SessionOffers(peer).secret("a")) is None
    values = {"a": module._Secret(data=b"one"), "empty": module._Secret()}
    missing = GrpcError(Code.NOT_FOUND, "secret x not found")
    peer.unary["/moby.buildkit.secrets.v1.Secrets/GetSecret"] = lambda request: values.get(request.id, missing)
    assert run(SessionOffers(peer).secret("a")) == b"one"
    values["a"] = module._Secret(data=b"two")
    assert run(SessionOffers(peer).secret("a")) == b"two"
    assert run(SessionOffers(peer).secret("empty")) == b""
    assert run(SessionOffers(peer).secret("x")) is None
    values["x"] = GrpcError(Code.UNKNOWN, "permission denied")
    with pytest.raises(GrpcError, match="permission denied"):
        run(SessionOffers(peer).secret("x"))


def test_an_agent_is_one_stream_a_connection() -> None:
    async def echo(values, reading, writing):
        assert values["buildkit.ssh.id"] == ["default"]
        while (message := await reading.get()) is not None:
            data = decode(BytesMessage, message).data
            await writing.put(encode(BytesMessage()))  # nothing, which is not the end
            await writing.put(encode(BytesMessage(data=data.upper())))
            if data == b"bye":
                return

    async def work():
        peer = Peer()
        assert await SessionOffers(peer).agent("default") is None
        peer.handlers["/moby.sshforward.v1.SSH/ForwardAgent"] = echo
        answers = {"default": module._Nothing(), "old": GrpcError(Code.UNIMPLEMENTED, "unknown service")}
        unset = GrpcError(Code.UNKNOWN, "unset ssh forward key x")
        peer.unary["/moby.sshforward.v1.SSH/CheckAgent"] = lambda request: answers.get(request.id, unset)
        assert await SessionOffers(peer).agent("old") is None
        with pytest.raises(NotFound, match=r"^unset ssh forward key x$"):
            await SessionOffers(peer).agent("x")
        agent = await SessionOffers(peer).agent("default")
        assert agent is not None
        await agent.write(b"hello")
        assert await agent.read() == b"HELLO"
        await agent.write(b"bye")
        assert await agent.read() == b"BYE"
        assert await agent.read() == b""
        await agent.close()
        await agent.close()

    run(work())


def test_credentials_are_asked_for_by_the_names_that_clients_know() -> None:
    asked = []
    peer = Peer()
    assert run(SessionOffers(peer).credentials(["docker.io"])) == ANONYMOUS
    found = {"registry-1.docker.io": module._Credentials(username="u", secret="p"),
             "token.example": module._Credentials(secret="identity")}  # fmt: skip

    def answer(request):
        asked.append(request.host)
        return found.get(request.host, module._Credentials())

    peer.unary["/moby.filesync.v1.Auth/Credentials"] = answer
    offers = SessionOffers(peer)
    credentials = run(offers.credentials(["docker.io", "https://docker.io", "https://index.docker.io/v1/"]))
    assert (credentials.username, credentials.password) == ("u", "p")
    assert asked == ["registry-1.docker.io"]
    assert run(offers.credentials(["token.example", "https://token.example"])).identity_token == "identity"
    assert run(offers.credentials(["other:5000", "https://other:5000"])) == ANONYMOUS
    assert asked[-1] == "other:5000"


def test_a_tree_is_sent_as_the_client_expects_it(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d!").write_text("after d")
    (tmp_path / "d/f").write_bytes(b"f" * 100_000)
    (tmp_path / "d/g").symlink_to("/etc/passwd")
    (tmp_path / "größe").write_text("")
    os.link(tmp_path / "d/f", tmp_path / "hard")
    (tmp_path / "d/f").chmod(0o4755)

    async def work():
        peer = Peer()
        tree = MountedTree(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
        await send_tree(peer, 1, tree)
        tree.close()
        return peer

    peer = run(work())
    assert peer.calls[0][1] == {"buildkit-attachable-exporter-id": ["1"]}
    assert list(peer.received) == ["d", "d/e", "d/f", "d/g", "d!", "größe", "hard"]
    assert peer.received["d"][0].mode == DIRECTORY | 0o755
    assert peer.received["d/g"][0].mode & SYMLINK
    assert peer.received["d/g"][0].linkname == b"/etc/passwd"
    assert peer.received["hard"][0].linkname == b"d/f"
    assert peer.received["d!"][1] == b"after d"
    assert peer.received["d/f"][0].size == 100_000


def test_a_set_id_file_is_asked_for_and_sent() -> None:
    peer = Peer()
    run(send_tree(peer, 0, tree_of({"a": b"x"}, mode=0o4755)))
    stat, data = peer.received["a"]
    assert stat.mode == 1 << 23 | 0o755
    assert data == b"x"


def test_a_tar_is_sent_in_small_messages_to_its_output() -> None:
    async def pieces():
        yield b"t" * 100_000
        yield b""
        yield b"end"

    peer = Peer()
    run(send_tar(peer, 2, pieces()))
    assert bytes(peer.tar) == b"t" * 100_000 + b"end"
    assert peer.calls[0][1] == {"buildkit-attachable-exporter-id": ["2"]}


def test_a_client_that_refuses_the_result_is_heard() -> None:
    async def refuse(_values, _reading, writing):
        await writing.put(GrpcError(Code.ALREADY_EXISTS, "destination exists"))
        await asyncio.sleep(60)

    peer = Peer()
    peer.handlers["/moby.filesync.v1.FileSend/DiffCopy"] = refuse
    with pytest.raises(GrpcError, match="destination exists"):
        run(send_tree(peer, 0, tree_of({"a": b"x"})))


def test_headers_are_escaped_where_they_are_not_plain() -> None:
    assert headers("context", excludes=["a b", "100%"], paths=["größe", "a b"]) == [
        ("dir-name", "context"), ("exclude-patterns", "a b"), ("exclude-patterns", "100%"),
        ("followpaths", "gr%C3%B6%C3%9Fe"), ("followpaths", "a+b"), ("followpaths-encoded", "1"),
    ]  # fmt: skip
    assert headers("x", paths=["a\nb\udcff"])[1:] == [("followpaths", "a%0Ab%FF"), ("followpaths-encoded", "1")]
    with pytest.raises(InvalidArgument, match="too many"):
        headers("context", excludes=["x" * 4000] * 300)


@pytest.mark.parametrize(
    ("paths", "asked"),
    [
        ([""], []), (["a", "."], []), (["a", "b/c"], ["a", "b/c"]), (["/b/./c/"], ["b/c"]), (["*.go"], ["*.go"]),
        (["src/**/x"], ["src"]), (["**/x", "a"], []), ([], []), (["a/../b"], []),
    ],
)  # fmt: skip
def test_paths_are_asked_for_as_clients_can_follow_them(paths: list[str], asked: list[str]) -> None:
    assert followed(paths) == asked


def test_many_files_of_all_sizes_are_sent_whole() -> None:
    content = {f"f{number:04}": bytes([number % 251]) * (number * 131 if number % 7 else 0) for number in range(700)}
    content["large"] = b"l" * 5_000_000
    peer = Peer()
    run(send_tree(peer, 0, tree_of(content)))
    assert {name: data for name, (_, data) in peer.received.items()} == content


def test_a_client_that_asks_twice_or_for_a_directory_is_cut_off() -> None:
    async def ask(_values, reading, writing):
        await writing.put(encode_packet(Packet(REQ, id=0)))
        while await reading.get() is not None:
            pass

    peer = Peer()
    peer.handlers["/moby.filesync.v1.FileSend/DiffCopy"] = ask
    with pytest.raises(BadPacket, match="invalid file id 0"):
        run(send_tree(peer, 0, tree_of({"d": None, "d/a": b"x"})))
