"""The history of builds and results that are handed over, call by call: what clients may ask, and hostile ones do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.test_buildkit_api import bridge, request, solve, status
from tests.lab import images
from tests.lab.buildkit_client import WAIT_S, calls, served_inside, session
from tests.lab.daemon import Daemon, running_daemon
from tests.unit.build.session_peer import Peer

from corten.build.buildkit.messages import content, control, gateway, history
from corten.build.buildkit.messages.pb import SourceOp
from corten.build.buildkit.messages.types import Nothing, Platform
from corten.build.session.packet import decode_stat
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.status import Code, GrpcError, Status
from corten.lib.protobuf.wire import decode
from corten.spec.digest import digest_of

LISTEN = "/moby.buildkit.v1.Control/ListenBuildHistory"
UPDATE = "/moby.buildkit.v1.Control/UpdateBuildHistory"
CONTENT = "/containerd.services.content.v1.Content/"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo said\n")
    return Peer({"dockerfile": tmp_path, "context": tmp_path})


async def listed(channel: Channel, **asked: object) -> list[history.Event]:
    found = []
    async with asyncio.timeout(WAIT_S), channel.stream(LISTEN) as call:
        await call.send(history.ListenRequest(early_exit=True, **asked), end=True)
        while (event := await call.receive(history.Event)) is not None:
            found.append(event)
    return found


async def update(channel: Channel, ref: str, **asked: bool) -> None:
    await channel.unary(UPDATE, history.UpdateRequest(ref=ref, **asked), Nothing, timeout_s=WAIT_S)


async def blob(channel: Channel, digest: str, offset: int = 0, size: int = 0) -> bytes:
    found = b""
    async with asyncio.timeout(WAIT_S), channel.stream(f"{CONTENT}Read") as call:
        await call.send(content.ReadRequest(digest=digest, offset=offset, size=size), end=True)
        while (piece := await call.receive(content.ReadResponse)) is not None:
            found += piece.data
    return found


async def test_a_record_and_what_belongs_to_it(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    async with calls(daemon) as channel, session(daemon, "session-good", peer):
        await solve(channel, request("good"))
        (event,) = await listed(channel, ref="good")
        record = event.record
        assert event.type == history.COMPLETE
        assert record is not None
        assert (record.frontend, record.frontend_attrs) == ("dockerfile.v0", {"filename": "Dockerfile"})
        assert (record.total_steps, record.completed_steps) == (6, 6)  # the export is one, too
        assert record.exporter_response["image.name"] == "docker.io/library/good:1"
        assert record.result is not None
        for descriptor in (record.logs, *record.result.attestations, *record.result.results.values()):
            assert descriptor is not None
            raw = await blob(channel, descriptor.digest)
            assert (digest_of(raw), len(raw)) == (descriptor.digest, descriptor.size)
            assert await blob(channel, descriptor.digest, 2, 3) == raw[2:5]
        told = b"".join(log.msg for message in await status(channel, "good") for log in message.logs)
        assert told == b"said\n"

        await update(channel, "good", pinned=True)
        (event,) = await listed(channel, ref="good")
        assert event.record is not None
        assert event.record.pinned
        await update(channel, "good", delete=True)
        assert await listed(channel, ref="good") == []


async def test_a_build_that_failed_has_its_error_whole(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN exit 7\n")
    async with calls(daemon) as channel, session(daemon, "session-bad", peer):
        with pytest.raises(GrpcError, match="exit code: 7"):
            await solve(channel, request("bad"))
        (event,) = await listed(channel, filter=["ref==bad,status==error"])
        assert event.record is not None
        assert event.record.error is not None
        assert event.record.external_error is not None
        whole = decode(Status, await blob(channel, event.record.external_error.digest))
        assert "exit code: 7" in whole.message
        assert any(detail.type_url.endswith("errdefs.Source+json") for detail in whole.details)


async def test_what_clients_ask_for_themselves_is_not_recorded(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel, session(daemon, "session-own", peer):
        asked = request("own")
        asked.internal = True
        await solve(channel, asked)
        assert await listed(channel, ref="own") == []


async def test_a_limit_gives_the_last_builds(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel:
        for ref in ("one", "two", "three"):
            async with session(daemon, f"session-{ref}", peer):
                await solve(channel, request(ref))
        found = await listed(channel, limit=2)
        assert [event.record.ref for event in found if event.record] == ["two", "three"]
        assert await listed(channel, active_only=True) == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (content.ReadRequest(digest="sha256:" + "0" * 64), Code.NOT_FOUND),
        (content.ReadRequest(digest="../../../etc/passwd"), Code.NOT_FOUND),
        (content.ReadRequest(), Code.NOT_FOUND),
    ],
)
async def test_other_content_is_not_read(daemon: Daemon, asked: content.ReadRequest, code: Code) -> None:
    async with calls(daemon) as channel:
        with pytest.raises(GrpcError) as caught:
            await blob(channel, asked.digest)
        assert caught.value.status is code
        with pytest.raises(GrpcError) as caught:
            await channel.unary(f"{CONTENT}Info", content.InfoRequest(digest=asked.digest), Nothing, timeout_s=WAIT_S)
        assert caught.value.status is code


async def test_parts_that_are_not_there_are_refused(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel, session(daemon, "session-parts", peer):
        await solve(channel, request("parts"))
        (event,) = await listed(channel, ref="parts")
        assert event.record is not None
        assert event.record.logs is not None
        for offset in (-1, 1 << 40):
            with pytest.raises(GrpcError):
                await blob(channel, event.record.logs.digest, offset, 10)
        with pytest.raises(GrpcError):
            await listed(channel, limit=-1)
        with pytest.raises(GrpcError):
            await listed(channel, filter=["nonsense"])
        with pytest.raises(GrpcError):
            await update(channel, "nothere", pinned=True)


async def test_a_result_is_handed_to_another_build_while_its_own_is_not_over(
    daemon: Daemon, peer: Peer, tmp_path: Path
) -> None:
    async with calls(daemon) as channel, session(daemon, "session-lower", peer), session(daemon, "session-upper", peer):
        lower = asyncio.ensure_future(solve(channel, request("lower", frontend="")))
        first = gateway.SolveRequest(frontend="dockerfile.v0", frontend_opt={"filename": "Dockerfile"})
        answer = await bridge(channel, "lower", "Solve", first, gateway.SolveResponse)
        assert answer.result is not None
        assert answer.result.ref is not None
        (tmp_path / "Dockerfile").write_text("FROM base\nRUN echo upon\n")
        asked = request("upper", **{"context:base": "input:base"})
        asked.inputs = {"base": answer.result.ref.definition}
        assert (await solve(channel, asked))["image.name"] == "docker.io/library/upper:1"
        await bridge(channel, "lower", "Return", gateway.ReturnRequest(), Nothing)
        await lower
        # what it was is known no more
        asked.ref = "late"
        with pytest.raises(GrpcError, match="is over"):
            await solve(channel, asked)
    history_of = daemon.out("history", "--format", "{{.CreatedBy}}", "upper:1").splitlines()
    assert [line.split("#")[0].strip() for line in history_of[:2]] == [
        "RUN /bin/sh -c echo upon",
        "RUN /bin/sh -c echo said",
    ]


async def test_files_of_a_result_are_read(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    outside = str(daemon.log).lstrip("/")  # which is a file, but not of the result
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY dir /dir\nCOPY --chmod=750 file /dir/file\n"
        f"RUN ln -s /dir/file /dir/link; ln -s ../../../../{outside} /dir/out\n"
    )
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/other.txt").write_text("other")
    (tmp_path / "file").write_text("0123456789")
    async with calls(daemon) as channel, session(daemon, "session-read", peer):
        whole = asyncio.ensure_future(solve(channel, request("read", frontend="")))
        first = gateway.SolveRequest(frontend="dockerfile.v0", frontend_opt={"filename": "Dockerfile"})
        answer = await bridge(channel, "read", "Solve", first, gateway.SolveResponse)
        assert answer.result is not None
        assert answer.result.ref is not None
        ref = answer.result.ref.id

        async def read(path: str, part: gateway.FileRange | None = None) -> bytes:
            asked = gateway.ReadFileRequest(ref=ref, path=path, range=part)
            return bytes((await bridge(channel, "read", "ReadFile", asked, gateway.ReadFileResponse)).data)

        assert await read("/dir/file") == await read("dir/../dir/link") == b"0123456789"
        assert await read("/dir/file", gateway.FileRange(offset=2, length=3)) == b"234"
        assert await read("/dir/file", gateway.FileRange(offset=20, length=3)) == b""
        for path, text in (("/dir/out", "no such file"), ("/nothere", "no such file"), ("/dir", "directory")):
            with pytest.raises(GrpcError, match=text):
                await read(path)
        with pytest.raises(GrpcError):
            await read("/dir/file", gateway.FileRange(offset=-1, length=3))
        with pytest.raises(GrpcError, match="no such ref"):
            await bridge(channel, "read", "ReadFile", gateway.ReadFileRequest(ref="x/y"), gateway.ReadFileResponse)

        asked = gateway.ReadDirRequest(ref=ref, path="/dir", pattern="*.txt")
        (entry,) = (await bridge(channel, "read", "ReadDir", asked, gateway.ReadDirResponse)).entries
        assert decode_stat(entry).path == b"other.txt"
        told = await bridge(
            channel, "read", "StatFile", gateway.StatFileRequest(ref=ref, path="/dir/file"), gateway.StatFileResponse
        )
        found = decode_stat(told.stat)
        assert (found.mode, found.size) == (0o750, 10)
        await bridge(channel, "read", "Return", gateway.ReturnRequest(), Nothing)
        await whole


async def test_a_client_learns_an_images_configuration_and_of_no_other_source(daemon: Daemon, peer: Peer) -> None:
    async with calls(daemon) as channel, session(daemon, "session-image", peer):
        whole = asyncio.ensure_future(solve(channel, request("image", frontend="")))
        asked = gateway.ImageConfigRequest(ref="busybox", platform=Platform(os="linux", architecture="amd64"))
        config = await bridge(channel, "image", "ResolveImageConfig", asked, gateway.ImageConfigResponse)
        assert digest_of(config.config) == daemon.inspect("busybox")["Id"]
        source = gateway.SourceMetaRequest(
            source=SourceOp(identifier="docker-image://docker.io/library/busybox:latest")
        )
        meta = await bridge(channel, "image", "ResolveSourceMeta", source, gateway.SourceMetaResponse)
        assert (meta.image.digest, meta.image.config) == (config.digest, config.config)
        with pytest.raises(GrpcError, match="only images"):
            source = gateway.SourceMetaRequest(source=SourceOp(identifier="git://example.com/x.git"))
            await bridge(channel, "image", "ResolveSourceMeta", source, gateway.SourceMetaResponse)
        await bridge(channel, "image", "Return", gateway.ReturnRequest(), Nothing)
        await whole


async def test_a_session_may_come_inside_a_call(daemon: Daemon, peer: Peer) -> None:
    """Control.Session, as bake opens one for several builds."""
    async with calls(daemon) as channel:
        exposed = [("x-docker-expose-session-uuid", "session-inside")]
        exposed += [("x-docker-expose-session-grpc-method", method) for method in peer.handlers]
        async with (
            channel.stream("/moby.buildkit.v1.Control/Session", metadata=exposed) as tunnel,
            served_inside(tunnel, peer),
        ):
            assert await solve(channel, request("inside"))
        refused = channel.unary("/moby.buildkit.v1.Control/Session", Nothing(), control.SolveResponse, timeout_s=WAIT_S)
        with pytest.raises(GrpcError, match="needs an id"):
            await refused
