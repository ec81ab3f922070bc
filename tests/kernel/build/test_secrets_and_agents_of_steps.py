"""Secrets on a tmpfs and agents behind sockets, as a step's container will find them; nothing is left of either."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from corten.build.operations import Mount
from corten.build.ops.mount_homes import sweep
from corten.build.ops.offered import OfferedMounts, socket_variable
from corten.errors import InvalidArgument, NotFound, ResourceExhausted

_WAIT_S = 30


class Echo:
    """An agent that says everything again, in capitals."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_closed = False

    async def read(self) -> bytes:
        return await self._said.get()

    async def write(self, data: bytes) -> None:
        await self._said.put(b"" if data == b"bye" else data.upper())

    async def close(self) -> None:
        self.is_closed = True


class Offers:
    def __init__(self) -> None:
        self.secrets = {
            "a": b"value\xff\n",
            "empty": b"",
            "zero": b"a\0b",
            "big": b"x" * (600 << 10),
            "long": b"x" * (130 << 10),
        }
        self.agents: list[Echo] = []

    async def secret(self, name: str) -> bytes | None:
        return self.secrets.get(name)

    async def agent(self, name: str) -> Echo | None:
        if name == "unknown":
            raise NotFound("unset ssh forward key unknown")
        if name != "default":
            return None
        self.agents.append(Echo())
        return self.agents[-1]


def secret(name: str = "a", target: str = "/run/secrets/a", **more: object) -> Mount:
    return Mount(kind="secret", id=name, target=target, **{"mode": 0o400, **more})


def ssh(name: str = "default", **more: object) -> Mount:
    return Mount(kind="ssh", id=name, target="/run/buildkit/ssh_agent.0", **{"mode": 0o600, **more})


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


def is_clean(folder: Path) -> bool:
    return not any(folder.iterdir()) and str(folder) not in Path("/proc/mounts").read_text()


def test_a_secret_is_a_file_in_memory_as_long_as_the_step_runs(tmp_path: Path) -> None:
    async def work() -> None:
        mounts = [
            secret(mode=0o440, uid=7, gid=8),
            secret("empty", "/e"),
            secret("none", "/n"),
            secret("a", "", env="A"),
        ]
        async with OfferedMounts(offers=Offers(), directory=tmp_path).hold(mounts) as offered:
            assert [mount.target for mount in offered.mounts] == ["/run/secrets/a", "/e"]
            assert all(mount.read_only and mount.type == "bind" for mount in offered.mounts)
            assert offered.hidden_env == ("A=value\udcff\n",)
            assert "value" not in repr(offered)
            source = Path(offered.mounts[0].source)
            assert source.read_bytes() == b"value\xff\n"
            assert Path(offered.mounts[1].source).read_bytes() == b""
            status = source.stat()
            assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o440, 7, 8)
            kind = subprocess.run(["stat", "-f", "-c", "%T", source], capture_output=True, text=True, check=True).stdout
            assert kind.strip() == "tmpfs"
            home = next(tmp_path.iterdir())
            assert stat.S_IMODE(home.stat().st_mode) == 0o700
            [line] = [row for row in Path("/proc/mounts").read_text().splitlines() if str(home) in row]
            assert {"nosuid", "nodev", "noexec"} <= set(line.split()[3].split(","))
        assert is_clean(tmp_path)

    run(work())


@pytest.mark.parametrize(
    ("mount", "kind", "words"),
    [
        (secret("none", required=True), NotFound, r"^secret none: not found$"),
        (ssh("none", required=True), NotFound, r'^no SSH key "none" forwarded from the client$'),
        (ssh("unknown", required=True), NotFound, r"^unset ssh forward key unknown$"),
        (secret("zero", "", env="A"), InvalidArgument, "zero byte"),
        (secret("long", "", env="A"), InvalidArgument, "too long"),
        (secret("big"), ResourceExhausted, "limit of 512000"),
    ],
)
def test_what_is_required_or_impossible_is_told(tmp_path: Path, mount: Mount, kind: type, words: str) -> None:
    offers = Offers()

    async def work() -> None:
        async with OfferedMounts(offers=offers, directory=tmp_path).hold([secret(), ssh(), mount]):
            pytest.fail("it was not refused")

    with pytest.raises(kind, match=words):
        run(work())
    assert all(agent.is_closed for agent in offers.agents)
    assert is_clean(tmp_path)


def test_what_the_client_does_not_have_is_left_out(tmp_path: Path) -> None:
    async def work() -> None:
        wanted = [
            secret("none"),
            secret("none", "", env="A"),
            ssh("none"),
            ssh("unknown"),
            Mount(kind="tmpfs", target="/t"),
        ]
        async with OfferedMounts(offers=Offers(), directory=tmp_path).hold(wanted) as offered:
            assert offered.mounts == ()
            assert offered.hidden_env == ()
        assert is_clean(tmp_path)

    run(work())


def test_each_connection_to_the_socket_is_one_to_the_agent(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 40)
    offers = Offers()

    async def talk(source: str, word: bytes) -> bytes:
        directory = os.open(os.path.dirname(source), os.O_PATH)
        try:
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{os.path.basename(source)}")
        finally:
            os.close(directory)
        writer.write(word)
        answer = await reader.readexactly(len(word))
        writer.write(b"bye")
        assert await reader.read() == b""
        writer.close()
        return answer

    async def work() -> None:
        async with OfferedMounts(offers=offers, directory=deep).hold(
            [ssh(mode=0o660, uid=5, gid=6), secret()]
        ) as offered:
            socket_mount = next(mount for mount in offered.mounts if mount.target.endswith("ssh_agent.0"))
            assert not socket_mount.read_only
            status = os.stat(socket_mount.source)
            assert stat.S_ISSOCK(status.st_mode)
            assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o660, 5, 6)
            assert len(offers.agents) == 1  # whether there is one was asked by connecting
            words = [b"one", b"two", b"three"]
            assert await asyncio.gather(*(talk(socket_mount.source, word) for word in words)) == [
                w.upper() for w in words
            ]
            assert len(offers.agents) == 3
        assert all(agent.is_closed for agent in offers.agents)
        assert is_clean(deep)

    run(work())


def test_a_step_that_ends_leaves_no_connection(tmp_path: Path) -> None:
    offers = Offers()

    async def work() -> None:
        async with OfferedMounts(offers=offers, directory=tmp_path).hold([ssh()]) as offered:
            with socket.socket(socket.AF_UNIX) as client:
                directory = os.open(os.path.dirname(offered.mounts[0].source), os.O_PATH)
                client.connect(f"/proc/self/fd/{directory}/agent.0")
                os.close(directory)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(client, b"x")
                assert await asyncio.wait_for(loop.sock_recv(client, 10), _WAIT_S) == b"X"
                kept = client.dup()
        with kept:
            kept.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(kept, 10), _WAIT_S) == b""
        assert is_clean(tmp_path)

    run(work())


def test_what_a_killed_daemon_left_mounted_is_removed(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.kernel.build.test_secrets_and_agents_of_steps import Offers, OfferedMounts, secret\n"
        "async def work():\n"
        "    async with OfferedMounts(offers=Offers(), directory=Path(sys.argv[1])).hold([secret()]):\n"
        "        os._exit(0)\n"
        "asyncio.run(work())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, check=True, timeout=_WAIT_S)
    assert not is_clean(tmp_path)
    sweep(tmp_path)
    assert is_clean(tmp_path)


def test_the_socket_is_named_to_the_step_unless_it_says_otherwise() -> None:
    mounts = [secret(), ssh(), ssh("second")]
    assert socket_variable(mounts, ["A=b"]) == ["SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"]
    assert socket_variable(mounts, ["SSH_AUTH_SOCK=/mine"]) == []
    assert socket_variable([secret()], []) == []
