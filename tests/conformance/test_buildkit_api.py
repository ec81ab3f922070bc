"""BuildKit's API call by call: what buildx of other versions does, in other orders, and what hostile clients may do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.buildkit_client import WAIT_S, calls, session, upgraded
from tests.lab.daemon import Daemon, running_daemon
from tests.unit.build.session_peer import Peer

from corten.build.buildkit.messages import control, gateway
from corten.build.buildkit.messages.types import Attributed, Nothing
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.status import Code, Detail, GrpcError, Status

CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
MANY = 300


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY f /f\nRUN echo said\n")
    (tmp_path / "f").write_text("f\n")
    return Peer({"dockerfile": tmp_path, "context": tmp_path})


def request(ref: str, frontend: str = "dockerfile.v0", **attributes: str) -> control.SolveRequest:
    return control.SolveRequest(
        ref=ref, session=f"session-{ref}", frontend=frontend, frontend_attrs={"filename": "Dockerfile", **attributes},
        exporters=[Attributed(type="moby", attrs={"name": f"docker.io/library/{ref}:1"})],
    )  # fmt: skip


async def solve(channel: Channel, asked: control.SolveRequest) -> dict[str, str]:
    answer = await channel.unary(f"{CONTROL}Solve", asked, control.SolveResponse, timeout_s=WAIT_S)
    return answer.exporter_response


async def status(channel: Channel, ref: str) -> list[control.StatusResponse]:
    """All messages to the end."""
    found = []
    async with asyncio.timeout(WAIT_S), channel.stream(f"{CONTROL}Status") as call:
        await call.send(control.StatusRequest(ref=ref), end=True)
        while (message := await call.receive(control.StatusResponse)) is not None:
            found.append(message)
    return found


async def bridge(channel: Channel, ref: str, method: str, message, kind):
    metadata = [("buildkit-controlapi-buildid", ref)]
    return await channel.unary(f"{BRIDGE}{method}", message, kind, metadata=metadata, timeout_s=WAIT_S)


async def test_a_build_whose_frontend_the_daemon_runs(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel, session(daemon, "session-direct", peer):
        early = asyncio.ensure_future(status(channel, "direct"))
        answer = await solve(channel, request("direct"))
        assert answer["image.name"] == "docker.io/library/direct:1"
        assert answer["containerimage.config.digest"] == daemon.inspect("direct:1")["Id"]
        for messages in (await early, await status(channel, "direct")):
            logs = b"".join(log.msg for message in messages for log in message.logs)
            last = {vertex.digest: vertex for message in messages for vertex in message.vertexes}
            assert logs == b"said\n"
            assert "[3/3] RUN echo said" in [vertex.name for vertex in last.values()]
            assert all(vertex.completed for vertex in last.values())
        assert peer.asked == ["Dockerfile", "f"]


async def test_a_build_that_the_client_leads(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel, session(daemon, "session-led", peer):
        pinged = asyncio.ensure_future(bridge(channel, "led", "Ping", Nothing(), gateway.PingResponse))  # comes first
        whole = asyncio.ensure_future(solve(channel, request("led", frontend="")))
        caps = await pinged
        assert {"solve.base", "return"} <= {cap.id for cap in caps.frontend_api_caps if cap.enabled}
        asked = gateway.SolveRequest(frontend="dockerfile.v0", frontend_opt={"filename": "Dockerfile"})
        solved = await bridge(channel, "led", "Solve", asked, gateway.SolveResponse)
        assert json.loads(solved.result.metadata["containerimage.config"])["os"] == "linux"
        await bridge(channel, "led", "Evaluate", gateway.RefRequest(ref=solved.result.ref.id), Nothing)
        assert daemon.out("images", "-q", "led") == ""  # not before the client has it returned
        await bridge(channel, "led", "Return", gateway.ReturnRequest(result=solved.result), Nothing)
        assert (await whole)["containerimage.digest"]
        assert daemon.out("images", "-q", "led") != ""


async def test_a_client_that_gives_up_says_why(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel, session(daemon, "session-up", peer):
        whole = asyncio.ensure_future(solve(channel, request("up", frontend="")))
        error = Status(code=9, message="not today", details=[Detail(type_url="a/b", value=b"c")])
        await bridge(channel, "up", "Return", gateway.ReturnRequest(error=error), Nothing)
        with pytest.raises(GrpcError, match="not today") as caught:
            await whole
        assert (caught.value.status, caught.value.details[0].value) == (Code.FAILED_PRECONDITION, b"c")


async def test_questions_about_a_dockerfile(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox as x\n")
    async with calls(daemon) as channel, session(daemon, "session-ask", peer):
        whole = asyncio.ensure_future(solve(channel, request("ask", frontend="")))

        async def ask(what: str) -> dict[str, bytes]:
            options = {
                "filename": "Dockerfile",
                "requestid": what,
                "frontend.caps": "moby.buildkit.frontend.subrequests",
            }
            asked = gateway.SolveRequest(frontend="dockerfile.v0", frontend_opt=options)
            return (await bridge(channel, "ask", "Solve", asked, gateway.SolveResponse)).result.metadata

        found = await ask("frontend.lint")
        (warning,) = json.loads(found["result.json"])["warnings"]
        assert (warning["ruleName"], found["result.statuscode"]) == ("FromAsCasing", b"1")
        (target,) = json.loads((await ask("frontend.targets"))["result.json"])["targets"]
        assert (target["name"], target["default"]) == ("x", True)
        assert json.loads((await ask("frontend.outline"))["result.json"])["name"] == "x"
        (tmp_path / "Dockerfile").write_text("FROM busybox AS x\nNOPE\n")
        wrong = json.loads((await ask("frontend.lint"))["result.json"])["buildError"]
        assert "unknown instruction: NOPE" in wrong["message"]
        assert wrong["location"]["ranges"][0]["start"]["line"] == 2
        described = await ask("frontend.subrequests.describe")
        assert "frontend.lint" in [one["name"] for one in json.loads(described["result.json"])]
        with pytest.raises(GrpcError, match=r"^unsupported request frontend\.other$"):
            await ask("frontend.other")
        await bridge(channel, "ask", "Return", gateway.ReturnRequest(), Nothing)
        assert await whole == {}


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (control.SolveRequest(ref="raw", definition=b"\x0a\x00"), "raw LLB"),
        (control.SolveRequest(ref="other", frontend="gateway.v0"), 'the frontend "gateway.v0"'),
        (
            control.SolveRequest(ref="ruled", frontend="dockerfile.v0", source_policy=b"\x08\x01"),
            "source policies are not supported",
        ),
        (control.SolveRequest(), "needs a ref"),
        (control.SolveRequest(ref="r" * 300), "needs a ref"),
    ],
)
async def test_what_is_not_done_is_refused(daemon: Daemon, asked: control.SolveRequest, text: str) -> None:
    async with calls(daemon) as channel:
        with pytest.raises(GrpcError, match=text):
            await solve(channel, asked)


async def test_calls_about_no_build_end_after_a_moment(daemon: Daemon) -> None:
    async with calls(daemon) as channel:
        pinged = bridge(channel, "nothere", "Ping", Nothing(), gateway.PingResponse)
        for error in await asyncio.gather(status(channel, "nothere"), pinged, return_exceptions=True):
            assert isinstance(error, GrpcError)
            assert (error.status, error.message) == (Code.NOT_FOUND, "no such job nothere")


async def test_what_is_known_of_the_builder(daemon: Daemon) -> None:
    async with calls(daemon) as channel:
        (worker,) = (
            await channel.unary(f"{CONTROL}ListWorkers", Nothing(), control.ListWorkersResponse, timeout_s=WAIT_S)
        ).record
        assert worker.platforms[0].os == "linux"
        info = await channel.unary(f"{CONTROL}Info", Nothing(), control.InfoResponse, timeout_s=WAIT_S)
        assert info.version.version.startswith("v0.")
        health = await channel.unary(
            "/grpc.health.v1.Health/Check", Nothing(), control.HealthResponse, timeout_s=WAIT_S
        )
        assert health.status == 1


async def test_a_session_that_ends_ends_its_build(daemon: Daemon, peer: Peer) -> None:
    stands = asyncio.Event()

    async def hang(values, reading, writing) -> None:
        stands.set()
        await asyncio.Event().wait()

    peer.handlers = dict.fromkeys(peer.handlers, hang)
    async with calls(daemon) as channel:
        async with session(daemon, "session-end", peer):
            whole = asyncio.ensure_future(solve(channel, request("end")))
            async with asyncio.timeout(WAIT_S):
                await stands.wait()
        with pytest.raises(GrpcError):
            await whole


async def test_a_second_session_of_a_name_is_refused(daemon: Daemon, peer: Peer) -> None:
    headers = "X-Docker-Expose-Session-Uuid: twice\r\n"
    async with session(daemon, "twice", peer):
        sock, answer = await asyncio.to_thread(upgraded, daemon, "/session", headers)
        sock.close()
        assert answer.startswith(b"HTTP/1.1 409 ")


@pytest.mark.parametrize(
    ("path", "upgrade"), [("/grpc", ""), ("/grpc", "websocket"), ("/session", ""), ("/session", "h2c")]
)
def test_what_is_no_upgrade_is_refused(daemon: Daemon, path: str, upgrade: str) -> None:
    sock, answer = upgraded(daemon, path, upgrade=upgrade)
    sock.close()
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 4096, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff" * 9]
)
@pytest.mark.parametrize("path", ["/grpc", "/session"])
def test_what_is_no_http2_ends_the_connection_alone(daemon: Daemon, path: str, data: bytes) -> None:
    sock, _ = upgraded(daemon, path, "X-Docker-Expose-Session-Uuid: bad\r\n")
    with sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert daemon.answers()
    assert "Traceback" not in daemon.log_text()


def test_clients_that_say_nothing_are_bounded(daemon: Daemon) -> None:
    held = []
    try:
        answers = []
        for _ in range(MANY):
            sock, answer = upgraded(daemon, "/grpc")
            held.append(sock)
            answers.append(answer[:12])
        assert set(answers) == {b"HTTP/1.1 101", b"HTTP/1.1 500"}
        assert daemon.answers()
    finally:
        for sock in held:
            sock.close()


async def test_builds_end_with_the_daemon(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo going; sleep 1000\n")
    with running_daemon() as daemon:
        daemon.docker("load", "-i", str(images.busybox()))
        async with calls(daemon) as channel, session(daemon, "session-stop", peer):
            whole = asyncio.ensure_future(solve(channel, request("stop")))
            async with asyncio.timeout(WAIT_S), channel.stream(f"{CONTROL}Status") as call:
                await call.send(control.StatusRequest(ref="stop"), end=True)
                while not any(log.msg == b"going\n" for log in (await call.receive(control.StatusResponse)).logs):
                    pass
                await asyncio.to_thread(daemon.stop)
            with pytest.raises(GrpcError):
                await whole
        daemon.start()
        assert daemon.out("ps", "-aq") == ""
