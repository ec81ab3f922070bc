"""A client that leads its build is its frontend: whatever it says of results, images are what the daemon has built."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.conformance.test_buildkit_api import bridge, request, solve
from tests.faults.test_builds_and_daemon_death import settled
from tests.lab import images
from tests.lab.buildkit_client import calls, session
from tests.lab.daemon import Daemon, running_daemon
from tests.unit.build.session_peer import Peer

from corten.build.buildkit.messages import gateway
from corten.build.buildkit.messages.gateway import Ref, RefMap, Result
from corten.build.buildkit.messages.types import Nothing
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.status import GrpcError

CONFIG = "containerimage.config"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nUSER nobody\nRUN echo said > /tmp/said\n")
    return Peer({"dockerfile": tmp_path, "context": tmp_path})


@asynccontextmanager
async def led(
    daemon: Daemon, peer: Peer, name: str
) -> AsyncIterator[tuple[Channel, asyncio.Future[dict[str, str]], Result]]:
    """A build whose Dockerfile is solved, and that waits for what its client returns."""
    async with calls(daemon) as channel, session(daemon, f"session-{name}", peer):
        whole = asyncio.ensure_future(solve(channel, request(name, frontend="")))
        asked = gateway.SolveRequest(frontend="dockerfile.v0", frontend_opt={"filename": "Dockerfile"})
        solved = await bridge(channel, name, "Solve", asked, gateway.SolveResponse)
        assert solved.result is not None
        yield channel, whole, solved.result


LIES = [
    {CONFIG: b"\xff no json"},
    {
        CONFIG: json.dumps(
            {"config": {"User": "root", "Cmd": ["/bin/evil"]}, "rootfs": {"diff_ids": ["sha256:0"]}}
        ).encode()
    },
    {"refs.platforms": b'{"Platforms": [{"ID": "../../x", "Platform": {"os": "evil"}}]}'},
    {"containerimage.base.config": b"[" * 10_000, "image.name": b"docker.io/library/busybox:latest"},
    {f"key{number}": b"x" * 1000 for number in range(1000)},
]


@pytest.mark.parametrize("number", range(len(LIES)))
async def test_what_is_said_of_a_result_changes_nothing(daemon: Daemon, peer: Peer, number: int) -> None:
    name, before = f"said{number}", daemon.inspect("busybox")["Id"]
    async with led(daemon, peer, name) as (channel, whole, result):
        lied = Result(ref=result.ref, metadata=LIES[number])
        await bridge(channel, name, "Return", gateway.ReturnRequest(result=lied), Nothing)
        assert (await whole)["containerimage.digest"]
    image = daemon.inspect(f"{name}:1")
    assert (image["Config"]["User"], image["Config"]["Cmd"], image["Os"]) == ("nobody", ["sh"], "linux")
    assert daemon.out("run", "--rm", "--network", "none", f"{name}:1", "cat", "/tmp/said") == "said"
    assert daemon.inspect("busybox")["Id"] == before


STRANGE = [
    Result(ref=Ref(id="result7")),
    Result(ref=Ref(id="../../etc/passwd")),
    Result(ref=Ref(id="x" * 100_000)),
    Result(ref=Ref(id="\0", definition=b"\xff" * 1000)),
    Result(refs=RefMap(refs={"linux/amd64": Ref(id="result0"), "linux/arm64": Ref(id="result1")})),
    Result(old_ref="sha256:0"),
]


@pytest.mark.parametrize("number", range(len(STRANGE)))
async def test_results_that_are_not_the_builds_own_are_refused(daemon: Daemon, peer: Peer, number: int) -> None:
    name = f"other{number}"
    async with led(daemon, peer, name) as (channel, whole, own):
        await bridge(channel, name, "Return", gateway.ReturnRequest(result=STRANGE[number]), Nothing)
        with pytest.raises(GrpcError, match=r"no such ref|several solves"):
            await whole
        with pytest.raises(GrpcError):  # it is over
            await bridge(channel, name, "Return", gateway.ReturnRequest(result=own), Nothing)
        for word in ("result7", "../x", "\0"):
            with pytest.raises(GrpcError):
                await bridge(channel, name, "Evaluate", gateway.RefRequest(ref=word), Nothing)
    assert daemon.out("images", "-q", name) == ""
    assert settled(daemon) == []
    assert "Traceback" not in daemon.log_text()
