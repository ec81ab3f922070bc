import asyncio
import socket

import pytest

from corten.engine.containers.health import Output, command_of, judge, pause_ns
from corten.errors import Conflict, InvalidArgument, NotFound
from corten.lib import codec
from corten.spec.docker.container import Health, HealthcheckResult, HealthConfig
from corten.spec.docker.exec import ExecCreateRequest

S = 1_000_000_000


class Taken:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.preface = b""


def request(**fields: object) -> ExecCreateRequest:
    return codec.from_plain(ExecCreateRequest, {"Cmd": ["id", "-u"], "AttachStdout": True, **fields})


async def test_an_exec_runs_and_its_code_is_there_when_its_stream_ends(engine):
    cid, shim = await engine.run(Env=["A=1"], WorkingDir="/w")
    exec_id = engine.parts.execs.create(cid, request(Env=["B=2"], User="www", Tty=False))
    created = await engine.parts.execs.inspect(exec_id)
    assert (created.running, created.exit_code, created.pid) == (False, None, 0)
    ours, theirs = socket.socketpair()

    async def take() -> Taken:
        return Taken(theirs.detach())

    await engine.parts.execs.start(exec_id, detach=False, hijack=take)
    running = await engine.parts.execs.inspect(exec_id)
    assert (running.running, running.exit_code, running.pid) == (True, None, 4242)
    process = engine.shims.processes[exec_id]
    assert process["user"] == {"uid": 33, "gid": 34, "additionalGids": [34, 50]}
    assert process["capabilities"]["effective"] == []
    assert process["cwd"] == "/w"
    assert {"A=1", "B=2"} <= set(process["env"])
    shim.finish_exec(exec_id, 7, b"33\n")
    assert ours.recv(100)[8:] == b"33\n"
    assert ours.recv(100) == b""
    ended = await engine.parts.execs.inspect(exec_id)
    assert (ended.running, ended.exit_code) == (False, 7)
    assert engine.actions()[2:] == ["exec_create: id -u", "exec_start: id -u", "exec_die"]
    assert engine.events.past()[-1].attributes["exitCode"] == "7"
    ours.close()


async def test_a_missing_command_is_told_in_the_stream(engine):
    cid, _shim = await engine.run()
    exec_id = engine.parts.execs.create(cid, request(Cmd=["nosuch"]))
    ours, theirs = socket.socketpair()

    async def take() -> Taken:
        return Taken(theirs.detach())

    await engine.parts.execs.start(exec_id, detach=False, hijack=take)
    frame = ours.recv(1000)
    assert frame[:4] == b"\x01\0\0\0"
    assert frame[8:] == (
        b'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": '
        b"executable file not found in $PATH: unknown\r\n"
    )
    assert (await engine.parts.execs.inspect(exec_id)).exit_code == 127
    ours.close()


async def test_what_exec_refuses(engine):
    cid, shim = await engine.run()
    execs = engine.parts.execs
    with pytest.raises(InvalidArgument, match="No exec command specified"):
        execs.create(cid, request(Cmd=[]))
    with pytest.raises(NotFound, match="No such exec instance: x"):
        await execs.inspect("x")
    exec_id = execs.create(cid, request())
    await execs.start(exec_id, detach=True, hijack=None)
    with pytest.raises(Conflict, match=f"Error: Exec command {exec_id} has already run"):
        await execs.start(exec_id, detach=True, hijack=None)
    await engine.service.pause(cid)
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        execs.create(cid, request())
    shim.exit(0)
    await engine.settle()
    with pytest.raises(Conflict, match=f"container {cid} is not running"):
        execs.create(cid, request())
    assert (await execs.inspect(exec_id)).exit_code == 137


async def test_resize_before_the_start_is_kept_for_it(engine):
    cid, shim = await engine.run()
    execs = engine.parts.execs
    exec_id = execs.create(cid, request(Tty=True))
    await execs.resize(exec_id, 77, 21)
    await execs.resize(exec_id, 0, 0)
    await execs.start(exec_id, detach=True, hijack=None)
    assert engine.shims.processes[exec_id]["consoleSize"] == {"width": 77, "height": 21}
    await execs.resize(exec_id, 80, 25)
    assert shim.sizes == [(80, 25, exec_id)]


async def test_privileged_exec_and_users_made_at_run_time(engine):
    cid, _shim = await engine.run()
    execs = engine.parts.execs
    one = execs.create(cid, request(Privileged=True))
    await execs.start(one, detach=True, hijack=None)
    assert "CAP_SYS_ADMIN" in engine.shims.processes[one]["capabilities"]["effective"]
    reads = engine.snapshots.reads
    await execs.start(execs.create(cid, request()), detach=True, hijack=None)
    assert engine.snapshots.reads == reads == 1


def result(code: int, text: str = "") -> HealthcheckResult:
    return HealthcheckResult(start="", end="", exit_code=code, output=text)


def test_health_is_judged_by_retries_and_start_period():
    check = HealthConfig(test=["CMD", "x"], retries=2, start_period=10 * S, start_interval=S)
    health = Health(status="starting")
    health = judge(check, health, result(1), ran_ns=5 * S)
    assert (health.status, health.failing_streak) == ("starting", 0)
    health = judge(check, health, result(1), ran_ns=11 * S)
    assert (health.status, health.failing_streak) == ("starting", 1)
    health = judge(check, health, result(-1), ran_ns=12 * S)
    assert (health.status, health.failing_streak) == ("unhealthy", 2)
    health = judge(check, health, result(0), ran_ns=13 * S)
    assert (health.status, health.failing_streak) == ("healthy", 0)
    for _ in range(9):
        health = judge(check, health, result(0), ran_ns=14 * S)
    assert len(health.log) == 5


def test_a_success_in_the_start_period_ends_it():
    check = HealthConfig(test=["CMD", "x"], retries=1, start_period=10 * S, start_interval=S, interval=20 * S)
    starting = Health(status="starting")
    assert pause_ns(check, starting, ran_ns=5 * S) == S
    assert pause_ns(check, starting, ran_ns=11 * S) == 20 * S
    healthy = judge(check, starting, result(0), ran_ns=1)
    assert pause_ns(check, healthy, ran_ns=5 * S) == 20 * S
    assert judge(check, healthy, result(1), ran_ns=5 * S).status == "unhealthy"


def test_probe_commands_and_defaults():
    assert command_of(HealthConfig(test=["CMD", "a", "b"]), None) == ["a", "b"]
    assert command_of(HealthConfig(test=["CMD-SHELL", "a b"]), None) == ["/bin/sh", "-c", "a b"]
    assert command_of(HealthConfig(test=["CMD-SHELL", "a"]), ["bash", "-ec"]) == ["bash", "-ec", "a"]
    assert pause_ns(HealthConfig(), Health(status="healthy"), ran_ns=0) == 30 * S


def test_output_is_taken_out_of_its_frames_and_cut():
    output = Output()
    stream = b"".join(bytes((1, 0, 0, 0)) + (3000).to_bytes(4, "big") + b"x" * 3000 for _ in range(2))
    for start in range(0, len(stream), 7):
        output.feed(stream[start : start + 7])
    assert output.text() == "x" * 4096


async def test_probes_run_and_change_the_health(engine):
    codes = [0, 1]

    def probe(shim, exec_id, process):
        assert process["args"] == ["/bin/sh", "-c", "check"]
        shim.finish_exec(exec_id, codes.pop(0) if codes else 1, b"said")

    engine.shims.on_exec = probe
    seen: list[str] = []
    ended = asyncio.Event()

    def listen(event) -> None:
        if event.action.startswith("health_status"):
            seen.append(event.action)
            if len(seen) == 2:
                ended.set()

    engine.events.listen(listen)
    check = {"Test": ["CMD-SHELL", "check"], "Interval": 1_000_000, "Retries": 1}
    cid, shim = await engine.run(Healthcheck=check)
    shown = await engine.service.inspect(cid)
    assert shown.state.health.status == "starting"
    await asyncio.wait_for(ended.wait(), 30)
    assert seen == ["health_status: healthy", "health_status: unhealthy"]
    health = engine.parts.registry.find(cid).health
    assert health.log[0].output == "said"
    assert engine.actions().count("exec_create: /bin/sh -c check") == 0
    shim.exit(0)
    await engine.settle()
    assert engine.parts.registry.find(cid).exec_ids == []


async def test_a_probe_that_takes_too_long_is_killed(engine):
    check = {"Test": ["CMD", "sleep"], "Interval": 1_000_000, "Timeout": 20_000_000, "Retries": 1}
    unhealthy = asyncio.Event()
    engine.events.listen(lambda event: unhealthy.set() if event.action == "health_status: unhealthy" else None)
    cid, _shim = await engine.run(Healthcheck=check)
    await asyncio.wait_for(unhealthy.wait(), 30)
    log = engine.parts.registry.find(cid).health.log
    assert (log[0].exit_code, log[0].output) == (-1, "Health check exceeded timeout (0.02s)")
