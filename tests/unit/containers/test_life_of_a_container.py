import asyncio
import socket

import pytest

from corten.engine.containers.attach import AttachOptions
from corten.engine.containers.status import Status
from corten.errors import Conflict, InvalidArgument, NotFound, NotModified
from corten.shim.client import StartFailed


class Taken:
    def __init__(self, fd: int, preface: bytes = b"") -> None:
        self.fd = fd
        self.preface = preface


async def test_run_to_its_end(engine):
    cid, shim = await engine.run("one", Cmd=["true"])
    assert engine.state(cid).status is Status.RUNNING
    assert engine.state(cid).pid == shim.pid
    waiting = engine.service.wait(cid, "")
    shim.exit(3)
    assert (await waiting).code == 3
    await engine.settle()
    assert engine.state(cid).status is Status.EXITED
    assert engine.state(cid).pid == 0
    assert shim.released
    assert engine.networks.attached == {}
    assert engine.actions() == ["create", "start", "die"]
    died = engine.events.past()[-1].attributes
    assert (died["exitCode"], died["image"], died["name"], died["from"]) == ("3", "busybox", "one", "image")


async def test_a_container_can_be_started_again(engine):
    cid, shim = await engine.run()
    with pytest.raises(NotModified):
        await engine.service.start(cid)
    shim.exit(0)
    await engine.settle()
    await engine.service.start(cid)
    assert engine.state(cid).status is Status.RUNNING


async def test_rm_removes_everything_and_answers_the_waiter_last(engine):
    cid = await engine.create("gone", HostConfig={"AutoRemove": True})
    removed = engine.service.wait(cid, "removed")
    await engine.service.start(cid)
    engine.shims.running[cid].exit(7)
    assert (await removed).code == 7
    await engine.settle()
    assert engine.table.rows == {}
    assert engine.snapshots.layers == set()
    assert list((engine.settings.data_root / "containers").iterdir()) == []
    assert engine.actions() == ["create", "start", "die", "destroy"]
    with pytest.raises(NotFound, match="No such container: gone"):
        engine.service.find("gone")
    await engine.create("gone")


async def test_a_failed_start_of_an_rm_container_answers_the_removed_wait(engine):
    cid = await engine.create(HostConfig={"AutoRemove": True}, Cmd=["nosuch"])
    removed = engine.service.wait(cid, "removed")
    engine.shims.failure = StartFailed("exec", 2, 'exec: "nosuch": executable file not found in $PATH')
    with pytest.raises(InvalidArgument, match=r"executable file not found in \$PATH: unknown"):
        await engine.service.start(cid)
    assert (await removed).code == 127
    assert engine.table.rows == {}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StartFailed("exec", 2, "stat /x: no such file or directory"), 127),
        (StartFailed("exec", 13, "permission denied"), 126),
        (StartFailed("exec", 21, "is a directory"), 126),
        (StartFailed("mount", 22, "invalid argument"), 128),
    ],
)
async def test_a_failed_start_leaves_a_created_container_with_its_error(engine, failure, code):
    cid = await engine.create(HostConfig={"Binds": ["vol:/v"]})
    engine.shims.failure = failure
    with pytest.raises(Exception, match=failure.text):
        await engine.service.start(cid)
    state = engine.state(cid)
    assert (state.status, state.exit_code) == (Status.CREATED, code)
    assert failure.text in state.error
    assert engine.networks.attached == {}
    assert engine.volumes.mounted == set()
    assert engine.shims.shims == {}
    assert "start" not in engine.actions()


async def test_a_network_failure_gives_the_sandbox_back(engine):
    cid = await engine.create()
    engine.networks.failure = Conflict("port is already allocated")
    with pytest.raises(Conflict, match="already allocated"):
        await engine.service.start(cid)
    assert engine.shims.shims == {}
    assert engine.state(cid).status is Status.CREATED


async def test_clients_that_attached_before_the_start_are_with_the_shim_before_it(engine):
    cid = await engine.create(OpenStdin=True)
    ours, theirs = socket.socketpair()
    options = AttachOptions(stdin=True, stdout=True, stderr=True, stream=True)

    async def take() -> Taken:
        return Taken(theirs.detach(), b"early")

    await engine.parts.attach.attach(cid, options, take)
    await engine.service.start(cid)
    attached = engine.shims.running[cid].attached
    assert [(entry["stdin"], entry["preface"]) for entry in attached] == [(True, b"early")]
    assert engine.actions() == ["create", "attach", "start"]
    ours.close()


async def test_stdin_is_not_attached_when_it_is_not_open(engine):
    cid, shim = await engine.run()
    ours, theirs = socket.socketpair()

    async def take() -> Taken:
        return Taken(theirs.detach())

    await engine.parts.attach.attach(cid, AttachOptions(stdin=True, stdout=True, stream=True), take)
    assert shim.attached[0]["stdin"] is False
    ours.close()


async def test_a_removed_container_closes_its_waiting_clients(engine):
    cid = await engine.create()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def take() -> Taken:
        return Taken(theirs.detach())

    await engine.parts.attach.attach(cid, AttachOptions(stdout=True, stream=True), take)
    await engine.service.remove(cid)
    assert await asyncio.get_running_loop().sock_recv(ours, 1) == b""
    ours.close()


async def test_attach_is_refused_where_docker_refuses_it(engine):
    cid, _shim = await engine.run()
    await engine.service.pause(cid)

    async def take() -> Taken:
        raise AssertionError("the connection must not be taken over")

    with pytest.raises(Conflict, match="You cannot attach to a paused container, unpause it first"):
        await engine.parts.attach.attach(cid, AttachOptions(stdout=True), take)
    with pytest.raises(InvalidArgument, match="Invalid detach keys"):
        await engine.service.unpause(cid)
        await engine.parts.attach.attach(cid, AttachOptions(detach_keys="ctrl-1"), take)


async def test_stop_asks_first_and_kills_after_the_timeout(engine):
    cid, shim = await engine.run()
    shim.obeys = (9,)
    await engine.service.stop(cid, timeout_s=0)
    assert shim.signals == [15, 9]
    assert engine.state(cid).exit_code == 137
    assert engine.actions() == ["create", "start", "kill", "kill", "die", "stop"]
    with pytest.raises(NotModified):
        await engine.service.stop(cid)


async def test_services_know_of_an_end_before_the_container_does(engine):
    heard = []

    async def withdraw(cid, *, drain):
        heard.append((list(shim.signals), drain))

    engine.networks.withdraw = withdraw
    cid, shim = await engine.run()
    shim.obeys = (9,)
    await engine.service.stop(cid, timeout_s=0)
    assert heard == [([], True), ([15], False)]
    cid, shim = await engine.run()
    await engine.service.kill(cid)
    assert heard[2:] == [([], False)]
    cid, shim = await engine.run()
    await engine.service.kill(cid, "HUP")
    await engine.service.pause(cid)
    assert heard[3:] == [([1], False)]
    await engine.service.stop(cid)
    assert heard[4:] == [([1], False)]


async def test_stop_takes_signal_and_timeout_of_the_container(engine):
    cid, shim = await engine.run(StopSignal="SIGINT", StopTimeout=0)
    await engine.service.stop(cid)
    assert shim.signals == [2, 9]
    cid, shim = await engine.run(StopSignal="3")
    shim.obeys = (3,)
    await engine.service.stop(cid, timeout_s=-1)
    assert shim.signals == [3]


async def test_kill_and_its_refusals(engine):
    cid, shim = await engine.run()
    with pytest.raises(InvalidArgument, match="invalid signal: NOPE"):
        await engine.service.kill(cid, "NOPE")
    shim.obeys = (9,)
    await engine.service.kill(cid, "HUP")
    await engine.service.kill(cid)
    assert shim.signals == [1, 9]
    with pytest.raises(Conflict, match=f"cannot kill container: {cid}: container {cid} is not running"):
        await engine.service.kill(cid)


async def test_stop_of_a_paused_container_lets_it_go_on_after_the_signal(engine):
    cid, shim = await engine.run()
    await engine.service.pause(cid)
    await engine.service.stop(cid)
    assert engine.cgroup_log == [("freeze", None), ("thaw", None)]
    assert shim.signals == [15]


async def test_pause_and_unpause(engine):
    cid, _shim = await engine.run()
    with pytest.raises(Conflict, match=f"container {cid} is not paused"):
        await engine.service.unpause(cid)
    await engine.service.pause(cid)
    with pytest.raises(Conflict, match=f"container {cid} is already paused"):
        await engine.service.pause(cid)
    with pytest.raises(Conflict, match="paused"):
        await engine.service.start(cid)
    await engine.service.unpause(cid)
    assert engine.state(cid).status is Status.RUNNING
    assert engine.actions()[-2:] == ["pause", "unpause"]


async def test_restart_stops_and_starts_and_does_not_remove_an_rm_container(engine):
    cid, first = await engine.run(HostConfig={"AutoRemove": True})
    await engine.service.restart(cid, timeout_s=1)
    assert first.signals == [15]
    assert engine.state(cid).status is Status.RUNNING
    assert engine.actions()[-1] == "restart"
    engine.shims.running[cid].exit(0)
    await engine.settle()
    assert engine.table.rows == {}


async def test_remove_texts_and_force(engine):
    cid, shim = await engine.run("here")
    with pytest.raises(Conflict, match='cannot remove container "/here": container is running: stop the container'):
        await engine.service.remove(cid)
    await engine.service.remove(cid, force=True)
    assert shim.signals == [9]
    with pytest.raises(NotFound):
        await engine.service.remove(cid, force=True)


async def test_a_container_that_is_being_started_is_removed_by_force(engine, monkeypatch):
    """A build whose client goes away removes its step's container at any moment."""
    begun, may_start = asyncio.Event(), asyncio.Event()
    prepare = engine.shims.prepare

    async def held(cid, *, spec):
        begun.set()
        await may_start.wait()
        return await prepare(cid, spec=spec)

    monkeypatch.setattr(engine.shims, "prepare", held)
    cid = await engine.create()
    starting = asyncio.ensure_future(engine.service.start(cid))
    async with asyncio.timeout(20):
        await begun.wait()
        removing = asyncio.ensure_future(engine.service.remove(cid, force=True))
        for _turn in range(20):
            await asyncio.sleep(0)
        may_start.set()
        await asyncio.gather(starting, removing)
    assert engine.table.rows == {}
    assert engine.shims.running == {}


async def test_remove_before_the_start_gives_the_prepared_sandbox_back(engine):
    cid = await engine.create()
    await engine.service.remove(cid)
    assert engine.shims.forgotten == [cid]


async def test_rm_v_removes_anonymous_volumes_only(engine):
    cid = await engine.create(Volumes={"/anonymous": {}}, HostConfig={"Binds": ["named:/named"]})
    assert len(engine.volumes.known) == 2
    await engine.service.remove(cid, volumes=True)
    assert engine.volumes.known == {"named"}


async def test_wait_conditions(engine):
    cid = await engine.create()
    assert (await engine.service.wait(cid, "not-running")).code == 0
    following = engine.service.wait(cid, "next-exit")
    with pytest.raises(InvalidArgument, match='invalid condition: "bogus"'):
        engine.service.wait(cid, "bogus")
    with pytest.raises(NotFound):
        engine.service.wait("nope", "")
    await engine.service.start(cid)
    assert not following.done()
    engine.shims.running[cid].exit(9)
    assert (await following).code == 9


async def test_an_abandoned_wait_leaves_nothing(engine):
    cid, _shim = await engine.run()
    waiting = engine.service.wait(cid, "")
    waiting.cancel()
    await asyncio.sleep(0)
    assert engine.parts.registry.find(cid).exit_waiters == []


async def test_a_restart_policy_runs_again_until_its_limit(engine):
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}
    cid, shim = await engine.run(HostConfig=policy)
    for count in (1, 2):
        shim.exit(4)
        while engine.shims.running.get(cid) is None:
            await asyncio.sleep(0.01)
        await engine.settle()
        shim = engine.shims.running[cid]
        assert engine.state(cid).restart_count == count
    shim.exit(4)
    await engine.settle()
    assert engine.state(cid).status is Status.EXITED


async def test_stop_during_the_pause_between_two_runs_cancels_the_next(engine):
    cid, shim = await engine.run(HostConfig={"RestartPolicy": {"Name": "always"}})
    shim.exit(1)
    await engine.settle()
    assert engine.state(cid).status is Status.RESTARTING
    await engine.service.stop(cid)
    assert engine.state(cid).status is Status.EXITED
    assert engine.parts.registry.find(cid).restart_timer is None


async def test_a_stopped_container_is_not_restarted_by_its_policy(engine):
    cid, _shim = await engine.run(HostConfig={"RestartPolicy": {"Name": "always"}})
    await engine.service.stop(cid)
    assert engine.state(cid).status is Status.EXITED
    assert engine.state(cid).manually_stopped


async def test_oom_is_recorded_and_told(engine):
    cid, shim = await engine.run()
    engine.shims.callbacks.on_oom(cid)
    shim.exit(137)
    await engine.settle()
    assert engine.state(cid).oom_killed
    assert engine.actions() == ["create", "start", "oom", "die"]


async def test_names_conflict_rename_and_prefixes(engine):
    first = await engine.create("taken")
    with pytest.raises(
        Conflict, match=f'Conflict. The container name "/taken" is already in use by container "{first}"'
    ):
        await engine.create("/taken")
    second = await engine.create("other")
    with pytest.raises(Conflict):
        await engine.service.rename(second, "taken")
    await engine.service.rename(second, "new")
    assert engine.service.find("/new").id == second
    assert engine.service.find(second[:12]).id == second
    with pytest.raises(NotFound, match="No such container: other"):
        engine.service.find("other")
    with pytest.raises(InvalidArgument, match=r"Invalid container name \(a/b\), only"):
        await engine.service.rename(second, "a/b")
    await engine.create("other")
    assert engine.events.past()[2].attributes["oldName"] == "/other"


async def test_a_failed_create_leaves_nothing(engine):
    with pytest.raises(NotFound, match="No such image: nosuch"):
        await engine.create("free", Image="nosuch")
    with pytest.raises(InvalidArgument, match="No such container: gone"):
        await engine.create("free", HostConfig={"VolumesFrom": ["gone"]})
    assert engine.table.rows == {}
    assert engine.snapshots.layers == set()
    await engine.create("free")


async def test_update_reaches_the_cgroup_and_the_record(engine):
    from corten.lib import codec
    from corten.spec.docker.hostconfig import UpdateRequest

    cid, _shim = await engine.run()
    body = {"Memory": 64 << 20, "NanoCpus": 500_000_000, "RestartPolicy": {"Name": "always"}}
    await engine.service.update(cid, codec.decode(UpdateRequest, codec.encode(body)))
    assert engine.cgroup_log == [("apply", {"memory": {"limit": 64 << 20}, "cpu": {"period": 100000, "quota": 50000}})]
    host = engine.service.find(cid).record.host_config
    assert (host.memory, host.restart_policy.name) == (64 << 20, "always")
    with pytest.raises(InvalidArgument, match="Minimum memory limit allowed is 6MB"):
        await engine.service.update(cid, UpdateRequest(memory=1))


async def test_prune_removes_what_does_not_run(engine):
    running, _shim = await engine.run(Labels={"keep": "no"})
    kept = await engine.create(Labels={"keep": "yes"})
    gone = await engine.create(Labels={"keep": "no"})
    result = await engine.service.prune({"label!": ["keep=yes"]})
    assert (result.containers_deleted, result.space_reclaimed) == ([gone], 11)
    assert {container.id for container in engine.parts.registry} == {running, kept}


async def test_a_lost_shim_ends_the_container(engine):
    cid, _shim = await engine.run()
    engine.shims.callbacks.on_lost(cid)
    await engine.settle()
    assert (engine.state(cid).status, engine.state(cid).exit_code) == (Status.EXITED, 137)
    assert engine.cgroup_log == [("kill", None), ("remove", None)]
    assert engine.shims.cleared == [cid]


@pytest.mark.parametrize("host", [{"IpcMode": "container:gone"}, {"NetworkMode": "container:gone"}])
async def test_what_a_container_shares_must_be_there_when_it_starts(engine, host):
    cid = await engine.create(HostConfig=host)
    with pytest.raises(NotFound, match="No such container: gone"):
        await engine.service.start(cid)
    donor = await engine.create("donor", HostConfig={"IpcMode": "shareable"})
    for name in ("NetworkMode", "PidMode"):
        sharing = await engine.create(HostConfig={name: "container:donor"})
        with pytest.raises(Conflict, match=f"of a non running container: {donor}"):
            await engine.service.start(sharing)


async def test_joined_namespaces_are_those_of_the_donors_process(engine):
    donor, shim = await engine.run("donor")
    cid, sharing = await engine.run(HostConfig={"NetworkMode": "container:donor", "PidMode": "container:donor"})
    kinds = {entry["type"]: entry.get("path") for entry in sharing.spec["linux"]["namespaces"]}
    assert kinds["network"] == f"/proc/{shim.pid}/ns/net"
    assert kinds["pid"] == f"/proc/{shim.pid}/ns/pid"
    hosts = next(mount for mount in sharing.spec["mounts"] if mount["destination"] == "/etc/hosts")
    assert donor in hosts["source"]
    assert cid not in engine.networks.attached
    with pytest.raises(Conflict, match="non-shareable IPC"):
        await engine.run(HostConfig={"IpcMode": "container:donor"})


async def test_the_first_start_reads_an_images_accounts_and_later_ones_do_not(engine):
    _one, first = await engine.run(User="www")
    assert first.spec["process"]["user"] == {"uid": 33, "gid": 34, "additionalGids": [34, 50]}
    cid, second = await engine.run()
    assert second.spec["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [0, 10]}
    assert engine.snapshots.reads == 1
    second.exit(0)
    await engine.settle()
    (engine.snapshots.root / cid / "etc").mkdir()
    await engine.service.start(cid)
    assert engine.snapshots.reads == 2


async def test_an_unknown_user_is_told_at_the_start_and_nothing_is_left(engine):
    cid = await engine.create(User="nosuch")
    with pytest.raises(InvalidArgument, match="unable to find user nosuch: no matching entries in passwd file"):
        await engine.service.start(cid)
    assert engine.shims.shims == {}
    assert engine.state(cid).exit_code == 128
