"""What a client sends of its directories: the tree that a build sees, and what is not sent twice."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.unit.build.session_peer import Peer

from corten.build.session.contexts import KeptContexts
from corten.build.session.source import SessionFiles, SessionSource
from corten.build.trees.tree import walk
from corten.engine.images.progress import Progress
from corten.engine.images.spool import Spool
from corten.errors import InvalidArgument, NotFound
from corten.lib.grpc.status import GrpcError


@asynccontextmanager
async def opened(peer, root, files=None, contexts=None, told=None):
    contexts = contexts or KeptContexts(root / "contexts")
    extra = {"told": told} if told else {}
    source = SessionSource(
        peer, files or SessionFiles(), contexts=contexts, spool=Spool(root / "tmp"), progress=Progress(), **extra
    )
    try:
        yield source
    finally:
        await source.close()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


def content(tree, path=""):
    """Path, kind, mode and bytes (or link) of everything."""
    found = {}
    for name, node in walk(tree, path):
        data = b"".join(tree.chunks(name)) if node.kind == "file" else node.link
        found[name] = (node.kind, node.mode, data)
    return found


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "dir/deep").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (folder / "a").write_text("one")
    (folder / "dir/b").write_text("two" * 50000)
    (folder / "dir/deep/größe 文").write_text("three")
    (folder / "dir.txt").write_text("")
    (folder / "link").symlink_to("../../outside")
    os.link(folder / "dir/b", folder / "hard")
    (folder / "x").write_text("run")
    (folder / "x").chmod(0o4755)
    os.mkfifo(folder / "pipe", 0o600)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(folder / "sock"))
    return folder


def test_a_directory_is_the_tree_that_the_client_has(context: Path, tmp_path: Path) -> None:
    async def work():
        peer = Peer({"context": context, "dockerfile": context})
        async with opened(peer, tmp_path) as source:
            recipe = await source.recipe()
            assert recipe.source.data == b"FROM scratch\nCOPY . /\n"
            assert recipe.ignored is None
            tree = await source.context("", [""])
            found = content(tree)
            assert found["a"] == ("file", 0o644, b"one")
            assert found["dir/b"] == found["hard"] == ("file", 0o644, b"two" * 50000)
            assert found["dir/deep/größe 文"][2] == b"three"
            assert found["link"] == ("symlink", 0o777, "../../outside")
            assert found["x"] == ("file", 0o4755, b"run")
            assert found["pipe"][0] == "fifo"
            assert "sock" not in found
            assert tree.lstat("hard").identity == tree.lstat("dir/b").identity is not None
            assert tree.lstat("a").identity is None
            assert tree.digest("hard") == tree.digest("dir/b")
            assert tree.lstat("a").mtime_ns == os.stat(context / "a").st_mtime_ns
            assert tree.names("dir") == ["b", "deep"]

    run(work())


def test_what_has_not_changed_is_not_sent_again(context: Path, tmp_path: Path) -> None:
    async def work():
        contexts = KeptContexts(tmp_path / "contexts")
        peer = Peer({"context": context, "dockerfile": context})
        async with opened(peer, tmp_path, contexts=contexts) as source:
            before = content(await source.context("", [""]))
        index = next((tmp_path / "contexts").glob("*/index"))
        written = index.stat().st_mtime_ns
        assert sorted(peer.asked) == ["Dockerfile", "a", "dir/b", "dir/deep/größe 文", "x"]
        peer.asked.clear()
        # a daemon that was started again knows it, too
        async with opened(peer, tmp_path, contexts=KeptContexts(tmp_path / "contexts")) as source:
            assert content(await source.context("", [""])) == before
        assert peer.asked == []
        assert index.stat().st_mtime_ns == written
        (context / "a").write_text("changed")
        (context / "new").write_text("new")
        (context / "x").unlink()
        async with opened(peer, tmp_path, contexts=contexts) as source:
            after = content(await source.context("", [""]))
        assert sorted(peer.asked) == ["a", "new"]
        assert after["a"][2] == b"changed"
        assert after["dir/b"] == before["dir/b"]
        assert "x" not in after
        [about] = contexts.abouts().values()
        assert about.uses == 2
        assert about.size >= 150000

    run(work())


def test_another_key_or_none_shares_nothing(context: Path, tmp_path: Path) -> None:
    async def work():
        contexts = KeptContexts(tmp_path / "contexts")
        for key, kept in (("one", 1), ("two", 2), ("", 2)):
            peer = Peer({"context": context, "dockerfile": context}, shared_key=key)
            async with opened(peer, tmp_path, contexts=contexts) as source:
                await source.context("", ["a"])
            assert peer.asked == ["a"]
            assert len(contexts.abouts()) == kept
        assert {path.name for path in (tmp_path / "contexts").iterdir()} == set(contexts.abouts())

    run(work())


def test_packs_are_not_many_and_mostly_used(tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    for number in range(20):
        (folder / f"f{number}").write_text(str(number) * 1000)

    async def work():
        contexts = KeptContexts(tmp_path / "contexts")
        peer = Peer({"context": folder})
        old = []
        async with opened(peer, tmp_path, contexts=contexts) as first:
            held = await first.context("", [""])
            for number in range(15):
                (folder / f"f{number}").write_text("changed" * number)
                async with opened(peer, tmp_path, contexts=contexts) as source:
                    found = content(await source.context("", [""]))
                assert found == {path.name: ("file", 0o644, path.read_bytes()) for path in folder.iterdir()}
                old.append(len(list((tmp_path / "contexts").glob("*/pack-*"))))
            # who has a tree keeps it as it was
            assert b"".join(held.chunks("f3")) == b"3" * 1000
        assert max(old) <= 9
        [about] = contexts.abouts().values()
        used = sum(path.stat().st_size for path in folder.iterdir())
        assert about.size == sum(path.stat().st_size for path in (tmp_path / "contexts").glob("*/pack-*")) <= 2 * used

    run(work())


def test_the_dockerignore_of_the_context_or_of_the_dockerfile_is_passed_on(context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("# words\ndir/**\n!dir/deep\nx\n")

    async def work():
        peer = Peer({"context": context, "dockerfile": context})
        async with opened(peer, tmp_path) as source:
            recipe = await source.recipe()
            assert recipe.ignored.ignores("x")
            found = content(await source.context("", [""]))
            assert "x" not in found
            assert "dir/b" not in found
            assert "dir/deep/größe 文" in found
        assert peer.calls[-1][1]["exclude-patterns"] == ["dir/**", "!dir/deep", "x"]
        (context / "Dockerfile.dockerignore").write_text("a\n")
        async with opened(peer, tmp_path) as source:
            await source.recipe()
            found = content(await source.context("", [""]))
            assert "a" not in found
            assert "x" in found
        names = [values["dir-name"][0] for _, values in peer.calls]
        assert names == ["dockerfile", "context", "context", "dockerfile", "context"]

    run(work())


def test_only_what_is_taken_is_asked_for(context: Path, tmp_path: Path) -> None:
    async def work():
        told = []
        peer = Peer({"context": context, "dockerfile": context, "lib": context / "dir"})
        files = SessionFiles(locals={"other": "lib"})
        (context / "dir/.dockerignore").write_text("deep")
        async with opened(peer, tmp_path, files, told=lambda *words: told.append(words)) as source:
            assert "a" not in content(await source.context("", ["dir/deep", "x"]))
            assert peer.calls[-1][1]["followpaths"] == ["dir/deep", "x"]
            found = content(await source.context("other", ["/"]))
            assert set(found) == {"b", ".dockerignore"}
            assert "followpaths" not in peer.calls[-1][1]
            with pytest.raises(InvalidArgument, match="named 'third'"):
                await source.context("third", [""])
        assert ("context", 8) in told
        assert told[-1] == ("lib", 150004)

    run(work())


def test_a_dockerfile_may_be_written_small_and_must_be_there(context: Path, tmp_path: Path) -> None:
    async def work():
        peer = Peer({"context": context, "dockerfile": context})
        (context / "Dockerfile").rename(context / "dockerfile")
        async with opened(peer, tmp_path) as source:
            assert (await source.recipe()).source.data.startswith(b"FROM")
        assert peer.calls[0][1]["followpaths"] == ["Dockerfile", "Dockerfile.dockerignore", "dockerfile"]
        (context / "dockerfile").unlink()
        async with opened(peer, tmp_path) as source:
            with pytest.raises(
                NotFound, match=r"^failed to read dockerfile: open Dockerfile: no such file or directory$"
            ):
                await source.recipe()
        (context / "big").write_bytes(b"#" * (5 << 20))
        async with opened(peer, tmp_path, SessionFiles(filename="big")) as source:
            with pytest.raises(InvalidArgument, match="more than the limit"):
                await source.recipe()
        async with opened(Peer(), tmp_path) as source:
            with pytest.raises(GrpcError, match='no access allowed to dir "dockerfile"'):
                await source.recipe()

    run(work())


def test_builds_at_once_send_the_files_once(context: Path, tmp_path: Path) -> None:
    async def work():
        contexts = KeptContexts(tmp_path / "contexts")
        peers = [Peer({"context": context}) for _ in range(4)]

        async def one(peer):
            async with opened(peer, tmp_path, contexts=contexts) as source:
                return content(await source.context("", [""]))

        found = await asyncio.gather(*map(one, peers))
        assert all(tree == found[0] for tree in found)
        assert sorted(len(peer.asked) for peer in peers) == [0, 0, 0, 5]

    run(work())


@pytest.mark.parametrize("name", ["index", "pack"])
def test_what_is_broken_on_disk_is_sent_again(context: Path, tmp_path: Path, name: str) -> None:
    async def work():
        peer = Peer({"context": context})
        async with opened(peer, tmp_path) as source:
            before = content(await source.context("", ["a"]))
        [path] = (tmp_path / "contexts").glob(f"*/{name}*")
        if name == "index":
            path.write_bytes(path.read_bytes()[:-9])
        else:
            path.unlink()
        async with opened(peer, tmp_path) as source:
            assert content(await source.context("", ["a"])) == before
        assert peer.asked == ["a", "a"]

    run(work())


def test_what_a_killed_daemon_left_goes(tmp_path: Path) -> None:
    root = tmp_path / "contexts"
    (root / "half").mkdir(parents=True)
    (root / "half/pack-1").write_bytes(b"x" * 100)
    (root / "half/about").write_text('{"name": "local source for context"}')
    (root / "torn").mkdir()
    (root / "torn/index").write_bytes(b"x")
    assert KeptContexts(root).abouts() == {}
    assert list(root.iterdir()) == []


def test_a_pack_that_no_list_names_goes_at_the_start(context: Path, tmp_path: Path) -> None:
    async def work():
        peer = Peer({"context": context})
        async with opened(peer, tmp_path) as source:
            await source.context("", [""])
        [folder] = (tmp_path / "contexts").iterdir()
        before = sorted(os.listdir(folder))
        (folder / "pack-0123456789abcdef").write_bytes(b"x" * 1000)
        contexts = KeptContexts(tmp_path / "contexts")
        assert sorted(os.listdir(folder)) == before
        [about] = contexts.abouts().values()
        assert about.size == sum(path.stat().st_size for path in folder.glob("pack-*"))
        peer.asked.clear()
        async with opened(peer, tmp_path, contexts=contexts) as source:
            await source.context("", [""])
        assert peer.asked == []

    run(work())


def test_builds_of_parts_of_one_directory_send_each_part_once(context: Path, tmp_path: Path) -> None:
    async def work():
        contexts = KeptContexts(tmp_path / "contexts")
        peer = Peer({"context": context})

        async def build(*paths):
            peer.asked.clear()
            async with opened(peer, tmp_path, contexts=contexts) as source:
                found = content(await source.context("", paths))
            assert all(
                data == (context / name).read_bytes() for name, (kind, _, data) in found.items() if kind == "file"
            )
            return list(peer.asked)

        assert await build("dir/b") == ["dir/b"]
        assert await build("a") == ["a"]
        for _ in range(3):
            assert await build("x") in (["x"], [])
            assert await build("dir/b") == []
            assert await build("a") == []
        (context / "a").write_text("more")
        assert await build("dir/b") == []
        assert await build("a") == ["a"]
        for _ in range(9):  # what nobody takes any more goes, with what is kept of it
            (context / "a").write_text(f"{peer.asked}" * 7)
            os.utime(context / "a", ns=(0, os.stat(context / "a").st_mtime_ns + 1))
            await build("a")
        assert await build("dir/b") == ["dir/b"]

    run(work())


def test_a_client_that_stops_in_its_transfer_holds_up_nobody(context: Path, tmp_path: Path) -> None:
    async def work():
        contexts = KeptContexts(tmp_path / "contexts", patience_s=0.05)
        stopped, peer = Peer({"context": context}), Peer({"context": context})
        begun = asyncio.Event()

        async def stop(*_):
            begun.set()
            await asyncio.sleep(600)

        stopped.handlers["/moby.filesync.v1.FileSync/DiffCopy"] = stop

        async def hang():
            async with opened(stopped, tmp_path, contexts=contexts) as source:
                await source.context("", ["a"])

        hanging = asyncio.ensure_future(hang())
        await begun.wait()
        for asked in (["a"], []):
            peer.asked.clear()
            async with opened(peer, tmp_path, contexts=contexts) as source:
                assert content(await source.context("", ["a"]))["a"][2] == b"one"
            assert peer.asked == asked
        assert await contexts.remove(contexts.abouts()) > 0
        hanging.cancel()
        await asyncio.wait([hanging])
        assert list((tmp_path / "contexts").iterdir()) == []

    run(work())


def test_what_is_deleted_or_replaced_during_a_transfer_is_kept_whole(context: Path, tmp_path: Path) -> None:
    """A build that was not waited for ends after another one has written its list, and after a prune."""

    async def work():
        contexts = KeptContexts(tmp_path / "contexts", patience_s=0.05)
        first = Peer({"context": context})
        async with opened(first, tmp_path, contexts=contexts) as source:
            before = content(await source.context("", [""]))
        slow, goes_on, begun = Peer({"context": context}), asyncio.Event(), asyncio.Event()

        async def wait(values, reading, writing):
            begun.set()
            await goes_on.wait()
            await slow._serve(values, reading, writing)

        slow.handlers["/moby.filesync.v1.FileSync/DiffCopy"] = wait

        async def build():
            async with opened(slow, tmp_path, contexts=contexts) as source:
                return content(await source.context("", [""]))

        building = asyncio.ensure_future(build())
        await begun.wait()
        await contexts.remove(contexts.abouts())
        goes_on.set()
        assert await building == before
        assert slow.asked == []
        last = Peer({"context": context})
        async with opened(last, tmp_path, contexts=KeptContexts(tmp_path / "contexts")) as source:
            assert content(await source.context("", [""])) == before
        assert last.asked == []

    run(work())


def test_what_somebody_else_has_put_beside_kept_contexts_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "contexts/half").mkdir(parents=True)
    (tmp_path / "contexts/note").write_text("x")
    (tmp_path / "contexts/link").symlink_to(tmp_path / "elsewhere")
    assert KeptContexts(tmp_path / "contexts").abouts() == {}
    assert sorted(path.name for path in (tmp_path / "contexts").iterdir()) == ["link", "note"]


def test_all_is_let_go_although_the_build_is_cancelled_once_more_meanwhile(context: Path, tmp_path: Path) -> None:
    def open_packs() -> int:
        found = 0
        for fd in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                found += f"{tmp_path}/contexts/#" in os.readlink(fd)
        return found

    async def work():
        peer = Peer({"context": context, "dockerfile": context})
        async with opened(peer, tmp_path) as source:
            await source.recipe()
            assert open_packs() > 1
            closing = asyncio.ensure_future(source.close())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert open_packs() == 0

    run(work())
