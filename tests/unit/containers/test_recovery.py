"""A daemon that starts again: what was recorded against what runs."""

import asyncio

from container_engine import FakeShim

from corten.engine.containers.recovery import Do, reconcile
from corten.engine.containers.status import Status
from corten.shim.client import Exit, Recovered


def found(cid, shim=None, code=None):
    ended = None if code is None else Exit(code=code, oom_killed=False, finished_ns=5)
    return Recovered(cid=cid, shim=shim, exit=ended)


async def revive(engine, *entries):
    engine.shims.found = list(entries)
    living = await engine.parts.recovery.observe()
    await engine.parts.recovery.finish()
    await engine.settle()
    return living


async def test_a_running_container_is_found_again_and_its_end_is_seen(engine):
    cid, _old = await engine.run("kept", HostConfig={"Binds": ["v:/v"]})
    new = engine.again()
    shim = FakeShim(cid, new.shims, 77, {})
    new.shims.running[cid] = shim
    assert await revive(new, found(cid, shim)) == {cid: 77}
    assert new.state(cid).pid == 77
    assert new.service.find("kept").shim is shim
    waiting = new.service.wait(cid, "")
    shim.exit(5)
    assert (await waiting).code == 5
    await new.service.start(cid)


async def test_an_end_that_nobody_saw_is_recorded_with_its_code(engine):
    cid, _old = await engine.run()
    gone, _old = await engine.run(HostConfig={"AutoRemove": True})
    new = engine.again()
    await revive(new, found(cid, code=31), found(gone, code=0))
    assert (new.state(cid).status, new.state(cid).exit_code, new.state(cid).finished_ns) == (Status.EXITED, 31, 5)
    assert sorted(new.shims.cleared) == sorted([cid, gone])
    assert [container.id for container in new.parts.registry] == [cid]
    assert gone not in new.snapshots.layers


async def test_an_exit_that_arrives_during_recovery_waits_for_it(engine):
    cid, _old = await engine.run()
    new = engine.again()
    shim = FakeShim(cid, new.shims, 77, {})

    async def recover():
        new.shims.callbacks.on_exit(cid, Exit(code=6, oom_killed=False, finished_ns=9))
        await asyncio.sleep(0)
        return [found(cid, shim)]

    new.shims.recover = recover
    await new.parts.recovery.observe()
    assert new.state(cid).status is Status.RUNNING
    await new.parts.recovery.finish()
    await new.settle()
    assert (new.state(cid).status, new.state(cid).exit_code) == (Status.EXITED, 6)


async def test_what_vanished_is_ended_and_its_cgroup_killed(engine):
    cid, _old = await engine.run()
    new = engine.again()
    await revive(new)
    assert (new.state(cid).status, new.state(cid).exit_code) == (Status.EXITED, 255)
    assert new.cgroup_log == [("kill", None), ("remove", None)]


async def test_a_start_that_was_never_recorded_is_undone(engine):
    cid = await engine.create()
    new = engine.again()
    shim, stray = FakeShim(cid, new.shims, 77, {}), FakeShim("f" * 64, new.shims, 78, {})
    await revive(new, found(cid, shim), found("f" * 64, stray))
    assert shim.released
    assert stray.released
    assert new.state(cid).status is Status.CREATED


async def test_a_create_that_was_cut_off_leaves_nothing(engine):
    cid = await engine.create()
    del engine.table.rows[cid]
    keep = engine.settings.data_root / "containers" / "README"
    keep.write_text("not ours to touch")
    new = engine.again()
    await revive(new)
    assert new.snapshots.layers == set()
    assert list((engine.settings.data_root / "containers").iterdir()) == [keep]


async def test_policies_decide_what_runs_again(engine):
    always = await engine.create(HostConfig={"RestartPolicy": {"Name": "always"}})
    ids = {}
    for name in ("always", "unless-stopped", "no"):
        cid, _shim = await engine.run(name, HostConfig={"RestartPolicy": {"Name": name}})
        await engine.service.stop(cid)
        ids[name] = cid
    new = engine.again()
    await revive(new)
    assert set(new.shims.running) == {ids["always"]}
    assert new.state(always).status is Status.CREATED


async def test_a_container_between_two_runs_gets_its_next_one(engine):
    cid, shim = await engine.run(HostConfig={"RestartPolicy": {"Name": "always"}})
    shim.exit(1)
    await engine.settle()
    engine.parts.supervisor.close()
    new = engine.again()
    await revive(new)
    while cid not in new.shims.running:
        await asyncio.sleep(0.01)
    await new.settle()
    assert new.state(cid).restart_count == 1
    await new.parts.close()


def test_the_plan_is_pure():
    assert reconcile({}, [found("x"), found("y", code=1)]) != []
    assert [action.do for action in reconcile({}, [found("x")])] == [Do.CLEAR]


async def test_unless_stopped_runs_again_after_a_shutdown_and_not_after_a_stop(engine):
    policy = {"RestartPolicy": {"Name": "unless-stopped"}}
    running, _shim = await engine.run(HostConfig=policy)
    stopped, _shim = await engine.run(HostConfig=policy)
    await engine.service.stop(stopped)
    await engine.service.shut_down(running)
    await engine.service.shut_down(stopped)
    assert engine.state(running).status is Status.EXITED
    new = engine.again()
    await revive(new)
    assert set(new.shims.running) == {running}
