"""Shims on the real kernel: start, output, attach, exec, exit, and what happens when one of the three dies."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.kernel.runtime.box import make_spec

from corten.engine.containers.processes import own_processes
from corten.errors import Unavailable
from corten.shim.client import Callbacks, Exit, Shims, StartFailed, StartRequest


class Engine:
    """The daemon's side, with what it was told."""

    def __init__(self, root: Path, warm: int = 0) -> None:
        self.root = root
        self.exits: dict[str, Exit] = {}
        self.exec_exits: dict[str, int] = {}
        self.lost: list[str] = []
        self.warm: list[str] = []
        self.told = asyncio.Event()
        callbacks = Callbacks(
            on_exit=lambda cid, status: self._note(self.exits.__setitem__, cid, status),
            on_exec_exit=lambda _cid, exec_id, code: self._note(self.exec_exits.__setitem__, exec_id, code),
            on_oom=lambda cid: None,
            on_detach=lambda cid, exec_id: None,
            on_lost=lambda cid: self._note(self.lost.append, cid),
            on_warm=lambda cid, pid: self._note(self.warm.append, cid),
        )
        self.shims = Shims(exec_root=root, cgroup_parent=f"/corten-test-{root.name}", callbacks=callbacks, warm=warm)
        self.shims.open()

    def _note(self, call, *args) -> None:
        call(*args)
        self.told.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.told.clear()
                await self.told.wait()

    def spec(self, rootfs: Path, cid: str, *argv: str, **process: object) -> dict:
        spec = make_spec(rootfs, *argv, **process)
        spec["linux"]["cgroupsPath"] = self.shims.cgroup_path(cid)
        return spec

    async def run(self, rootfs: Path, *argv: str, cid: str = "", **options: object) -> str:
        cid = cid or self.shims.new_id()
        spec = self.spec(rootfs, cid, *argv)
        shim = await self.shims.prepare(cid, spec=spec)
        log = {"driver": "json-file", "path": str(self.root / f"{cid}.log")}
        await shim.start(StartRequest(spec=spec, rootfs=None, log=log, **options))
        return cid


async def end(one: Engine) -> None:
    """Kill what runs, end the engine, and see that nothing is left."""
    for shim in list(one.shims._shims.values()):
        await shim.signal(9)
        await one.until(lambda cid=shim.cid: cid in one.exits or cid in one.lost)
        await shim.discard()
    await one.shims.shutdown()
    assert list((one.root / "shim").iterdir()) == []
    parent = f"corten-test-{one.root.name}"
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        base = hierarchy / parent
        if base.is_dir():
            assert [entry for entry in base.iterdir() if entry.is_dir()] == []
            base.rmdir()
    base = Path("/sys/fs/cgroup") / parent
    if base.is_dir():
        base.rmdir()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    one = Engine(tmp_path / secrets.token_hex(4))
    yield one
    await end(one)


async def test_a_process_runs_logs_and_ends_with_its_code(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sh", "-c", "echo out; echo err >&2; exit 7")
    await engine.until(lambda: cid in engine.exits)
    assert engine.exits[cid].code == 7
    log = (engine.root / f"{cid}.log").read_text()
    assert '"log":"out\\n","stream":"stdout"' in log
    assert '"log":"err\\n","stream":"stderr"' in log
    shim = engine.shims.get(cid)
    assert shim is not None
    await shim.discard()


async def test_attach_before_start_gets_everything_in_frames(engine: Engine, busybox_root: Path) -> None:
    cid = engine.shims.new_id()
    spec = engine.spec(busybox_root, cid, "sh", "-c", "read x; echo got $x; exit 3")
    shim = await engine.shims.prepare(cid, spec=spec)
    mine, theirs = socket.socketpair()
    await shim.attach(theirs.fileno(), stdin=True, stdout=True, stderr=True, preface=b"wo")
    theirs.close()
    await shim.start(StartRequest(spec=spec, rootfs=None, open_stdin=True, stdin_once=True))
    mine.sendall(b"rd\n")
    mine.setblocking(False)
    loop = asyncio.get_running_loop()
    got = b""
    async with asyncio.timeout(20):
        while chunk := await loop.sock_recv(mine, 4096):
            got += chunk
    mine.close()
    assert got == struct.pack(">BxxxI", 1, 9) + b"got word\n"
    await engine.until(lambda: cid in engine.exits)
    assert engine.exits[cid].code == 3
    await shim.discard()


async def test_a_failing_start_says_why_and_leaves_nothing(engine: Engine, busybox_root: Path) -> None:
    cid = engine.shims.new_id()
    spec = engine.spec(busybox_root, cid, "nosuch")
    shim = await engine.shims.prepare(cid, spec=spec)
    with pytest.raises(StartFailed) as caught:
        await shim.start(StartRequest(spec=spec, rootfs=None))
    assert 'exec: "nosuch": executable file not found in $PATH' in caught.value.text
    await shim.discard()
    assert not (engine.root / "shim" / cid).exists()


async def test_exec_has_its_own_streams_and_code_before_the_stream_ends(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "1000")
    shim = engine.shims.get(cid)
    assert shim is not None
    process = {**engine.spec(busybox_root, cid, "sh", "-c", "cat; echo err >&2; exit 9")["process"]}
    mine, theirs = socket.socketpair()
    await shim.attach(theirs.fileno(), exec_id="e1", stdin=True, stdout=True, stderr=True)
    theirs.close()
    pid = await shim.exec("e1", process=process, open_stdin=True)
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{shim.pid}/ns/pid")
    mine.sendall(b"typed")
    mine.shutdown(socket.SHUT_WR)
    mine.setblocking(False)
    loop = asyncio.get_running_loop()
    got = b""
    async with asyncio.timeout(20):
        while chunk := await loop.sock_recv(mine, 4096):
            got += chunk
    mine.close()
    assert sorted(got) == sorted(struct.pack(">BxxxI", 1, 5) + b"typed" + struct.pack(">BxxxI", 2, 4) + b"err\n")
    await shim.sync()
    assert engine.exec_exits == {"e1": 9}


async def test_a_shim_that_is_killed_is_reported_lost(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "1000")
    shim = engine.shims.get(cid)
    assert shim is not None
    os.kill(shim.shim_pid, signal.SIGKILL)
    await engine.until(lambda: engine.lost == [cid])
    from corten.linux.cgroup import open_cgroup

    cgroup = open_cgroup(engine.shims.cgroup_path(cid))
    cgroup.kill()
    cgroup.remove()
    engine.shims.clear(cid)


async def test_a_new_daemon_finds_running_and_ended_containers(
    engine: Engine, busybox_root: Path, tmp_path: Path
) -> None:
    running = await engine.run(busybox_root, "sleep", "1000")
    ending = await engine.run(busybox_root, "sh", "-c", "sleep 0.3; exit 5")
    prepared = engine.shims.new_id()
    await engine.shims.prepare(prepared, spec=engine.spec(busybox_root, prepared, "true"))
    for shim in list(engine.shims._shims.values()):  # as if the daemon had died
        shim.ended = True
        shim.close()
    pidfile = engine.root / "shim" / ending / "exit.json"
    async with asyncio.timeout(20):
        while not pidfile.exists() or (engine.root / "shim" / prepared).exists():
            await asyncio.sleep(0.02)
    found = {item.cid: item for item in await engine.shims.recover()}
    assert set(found) == {running, ending}
    assert found[ending].shim is None
    assert found[ending].exit is not None
    assert found[ending].exit.code == 5
    engine.shims.clear(ending)
    shim = found[running].shim
    assert shim is not None
    await shim.signal(9)
    await engine.until(lambda: running in engine.exits)
    assert engine.exits[running].code == 137
    await shim.discard()


async def test_a_dead_zygote_is_replaced(engine: Engine, busybox_root: Path) -> None:
    os.kill(engine.shims.zygote_pid, signal.SIGKILL)
    cid = await engine.run(busybox_root, "true")
    await engine.until(lambda: cid in engine.exits)
    shim = engine.shims.get(cid)
    assert shim is not None
    await shim.discard()


async def test_a_prepared_sandbox_is_taken_by_the_next_container(tmp_path: Path, busybox_root: Path) -> None:
    engine = Engine(tmp_path / secrets.token_hex(4), warm=1)
    engine.shims.start_warming()
    for _round in range(3):
        await engine.until(lambda: bool(engine.warm))
        expected = engine.warm.pop()
        cid = await engine.run(busybox_root, "sh", "-c", "grep -q . /proc/self/cgroup && exit 4")
        assert cid == expected
        await engine.until(lambda cid=cid: cid in engine.exits)
        assert engine.exits[cid].code == 4
        shim = engine.shims.get(cid)
        assert shim is not None
        await shim.discard()
    await engine.shims.shutdown()
    assert list((engine.root / "shim").iterdir()) == []
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        base = hierarchy / f"corten-test-{engine.root.name}"
        if base.is_dir():
            base.rmdir()


def children(pid: int) -> dict[int, str]:
    """Pid and name of a process's children."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text()
            except OSError:
                continue
            if int(fields.rsplit(")", 1)[1].split()[1]) == pid:
                found[int(entry.name)] = fields[fields.index("(") + 1 : fields.rindex(")")]
    return found


async def test_a_started_container_leaves_no_launcher_behind(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "100")
    shim = engine.shims.get(cid)
    await shim.sync()
    async with asyncio.timeout(10):
        while children(shim.shim_pid) != {shim.pid: "sleep"}:
            await asyncio.sleep(0.01)


async def test_a_killed_launcher_takes_its_sandbox_along(engine: Engine, busybox_root: Path) -> None:
    cid = engine.shims.new_id()
    spec = engine.spec(busybox_root, cid, "true")
    shim = await engine.shims.prepare(cid, spec=spec)
    launcher = next(pid for pid, name in children(shim.shim_pid).items() if name == "corten-launcher")
    os.kill(launcher, signal.SIGKILL)
    with pytest.raises((StartFailed, Unavailable)):
        await shim.start(StartRequest(spec=spec, rootfs=None))
    await shim.discard()
    assert not (engine.root / "shim" / cid).exists()
    assert not os.path.exists(f"/proc/{shim.pid}")


async def test_execs_in_a_row_start_inside_the_cgroup_and_each_has_its_code(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "100")
    shim = engine.shims.get(cid)
    pids = Path(f"/sys/fs/cgroup/pids{engine.shims.cgroup_path(cid)}/cgroup.procs")
    for number in range(6):
        process = make_spec(busybox_root, "sh", "-c", f"trap 'exit {number}' TERM; while :; do sleep 0.01; done")
        pid = await shim.exec(f"e{number}", process=process["process"], open_stdin=False)
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        assert {line.split(":", 2)[2] for line in groups if "pids" in line or line.startswith("0::/corten")} == {
            engine.shims.cgroup_path(cid)
        }
        while Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0][-4:] < "4000":
            await asyncio.sleep(0.01)  # until the trap is set
        os.kill(pid, signal.SIGTERM)
        await engine.until(lambda number=number: f"e{number}" in engine.exec_exits)
    assert [engine.exec_exits[f"e{number}"] for number in range(6)] == list(range(6))
    if pids.exists():  # cgroup v1: somebody stands inside, and goes when the container ends
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids.read_text().split()]
        assert sorted(names) == ["corten-porter", "sleep"]
    os.kill(shim.pid, signal.SIGKILL)
    await engine.until(lambda: cid in engine.exits)
    await shim.discard()
    assert not pids.parent.exists()


async def test_an_exec_survives_the_death_of_the_porter(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "100")
    shim = engine.shims.get(cid)
    for number in range(5):
        process = make_spec(busybox_root, "true")["process"]
        await shim.exec(f"e{number}", process=process, open_stdin=False)
        for pid, name in children(shim.shim_pid).items():
            if name == "corten-porter":
                os.kill(pid, signal.SIGKILL)
        await engine.until(lambda number=number: f"e{number}" in engine.exec_exits)
    assert set(engine.exec_exits.values()) == {0}


async def test_a_log_that_cannot_be_opened_fails_the_start_and_leaves_nothing(
    engine: Engine, busybox_root: Path
) -> None:
    cid = engine.shims.new_id()
    spec = engine.spec(busybox_root, cid, "true")
    shim = await engine.shims.prepare(cid, spec=spec)
    log = {"driver": "json-file", "path": str(engine.root / "missing/x.log")}
    async with asyncio.timeout(20):
        with pytest.raises(StartFailed, match="No such file"):
            await shim.start(StartRequest(spec=spec, rootfs=None, log=log))
        await shim.discard()
    assert not (engine.root / "shim" / cid).exists()
    assert not os.path.exists(f"/proc/{shim.pid}")


async def test_a_running_containers_keeper_holds_no_descriptor_too_many(tmp_path: Path, busybox_root: Path) -> None:
    held = []
    for warm in (0, 1):  # without and with what a sandbox is prepared by
        engine = Engine(tmp_path / secrets.token_hex(4), warm=warm)
        try:
            await engine.run(busybox_root, "true")
            engine.shims.start_warming()
            await engine.until(lambda engine=engine, warm=warm: len(engine.warm) >= warm)
            cid = await engine.run(busybox_root, "sleep", "100")
            shim = engine.shims.get(cid)
            await shim.sync()
            held.append(sum("memfd:" in link for link in open_files(shim.shim_pid)))
        finally:
            await end(engine)
    assert held == [1, 1]


async def test_a_process_cannot_hide_from_top_by_its_name(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "100")
    shim = engine.shims.get(cid)
    process = make_spec(busybox_root, "sh", "-c", "echo -n corten-porter > /proc/self/comm; sleep 100; true")["process"]
    pid = await shim.exec("hider", process=process, open_stdin=False)
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}/comm").read_text() != "corten-porter\n":
            await asyncio.sleep(0.01)
    assert own_processes([shim.pid, pid, os.getpid()]) == [shim.pid, pid]


UDP_THERE = (socket.AF_INET, socket.SOCK_DGRAM, 0, "127.0.0.11")
TCP_THERE = (socket.AF_INET, socket.SOCK_STREAM, 0, "127.0.0.11")


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process are, without those it closes meanwhile."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return links


def holds_namespaces(folder: str) -> bool:
    """Whether one of the descriptors in /proc/PID/fd is a network namespace."""
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed just now
            if os.readlink(f"{folder}/{fd}").startswith("net:"):
                return True
    return False


async def test_sockets_of_a_containers_namespace_are_made_and_the_zygote_comes_home(
    engine: Engine, busybox_root: Path
) -> None:
    cid = await engine.run(busybox_root, "sleep", "1000")
    wanted = [UDP_THERE, TCP_THERE, (socket.AF_NETLINK, 3, 0, "")]
    key = "net.ipv4.conf.IFNAME.route_localnet"
    udp, tcp, route = await engine.shims.open_sockets(cid, wanted, sysctls={"lo": {key: "1"}})
    assert Path("/proc/sys/net/ipv4/conf/lo/route_localnet").read_text() == "0\n"
    sysctl = [
        "nsenter",
        f"--net=/proc/{engine.shims.get(cid).pid}/ns/net",
        "cat",
        "/proc/sys/net/ipv4/conf/lo/route_localnet",
    ]
    assert subprocess.run(sysctl, capture_output=True, check=True).stdout == b"1\n"
    inside = Path(f"/proc/{engine.shims.get(cid).pid}/net")
    assert f"0B00007F:{udp.getsockname()[1]:04X}" in (inside / "udp").read_text()
    assert f"0B00007F:{tcp.getsockname()[1]:04X}" in (inside / "tcp").read_text()
    assert f"0B00007F:{tcp.getsockname()[1]:04X}" not in Path("/proc/net/tcp").read_text()
    assert not udp.getblocking()
    for sock in (udp, tcp, route):
        sock.close()
    with pytest.raises(OSError, match="family not supported"):
        await engine.shims.open_sockets(cid, [UDP_THERE, (99, 1, 0, "")])
    zygote = f"/proc/{engine.shims.zygote_pid}"
    assert os.readlink(f"{zygote}/ns/net") == os.readlink("/proc/self/ns/net")
    async with asyncio.timeout(10):  # it closes them a moment after it has answered
        while holds_namespaces(f"{zygote}/fd"):
            await asyncio.sleep(0.001)
    os.kill(engine.shims.zygote_pid, signal.SIGKILL)
    (again,) = await engine.shims.open_sockets(cid, [UDP_THERE])
    again.close()


async def test_no_sockets_are_made_for_a_container_that_has_ended(engine: Engine, busybox_root: Path) -> None:
    cid = await engine.run(busybox_root, "sleep", "1000")
    before = Path("/proc/sys/net/ipv4/conf/lo/bc_forwarding").read_text()
    shim = engine.shims.get(cid)
    pid, shim.pid = shim.pid, os.getpid()  # as if another process had its number by now
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.001)  # not the loop's: it has not heard of the end yet
    with pytest.raises(Unavailable):
        await engine.shims.open_sockets(cid, [UDP_THERE], sysctls={"lo": {"net.ipv4.conf.IFNAME.bc_forwarding": "1"}})
    assert Path("/proc/sys/net/ipv4/conf/lo/bc_forwarding").read_text() == before
    with pytest.raises(Unavailable):
        await engine.shims.open_sockets("0" * 64, [UDP_THERE])
    await engine.until(lambda: cid in engine.exits)
    await shim.discard()
