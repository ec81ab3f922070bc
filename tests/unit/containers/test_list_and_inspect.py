import json

import pytest

from corten.errors import InvalidArgument, NotFound
from corten.lib import codec


async def names(engine, **filters):
    rows = await engine.service.list_(all_=True, filters=filters)
    return [row.names[0] for row in rows]


async def test_a_row(engine):
    cid, _shim = await engine.run(
        "row", Cmd=["sh", "-c", "echo a b"], Labels={"k": "v"}, HostConfig={"Binds": ["/tmp:/t:ro"]}
    )
    (row,) = json.loads(codec.encode(await engine.service.list_()))
    assert row["Id"] == cid
    assert row["Names"] == ["/row"]
    assert row["Image"] == "busybox"
    assert row["Command"] == "sh -c 'echo a b'"
    assert row["Labels"] == {"k": "v", "from": "image"}
    assert row["State"] == "running"
    assert row["Status"].startswith("Up ")
    assert row["Ports"] == []
    assert row["HostConfig"] == {"NetworkMode": "bridge"}
    assert row["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
    mount = {
        "Type": "bind",
        "Source": "/tmp",
        "Destination": "/t",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert row["Mounts"] == [mount]
    assert "SizeRw" not in row
    (sized,) = json.loads(codec.encode(await engine.service.list_(size=True)))
    assert sized["SizeRw"] == 11


async def test_what_a_list_shows(engine):
    _up, _shim = await engine.run("up")
    await engine.create("down")
    _done, shim = await engine.run("done")
    shim.exit(3)
    await engine.settle()
    assert [row.names for row in await engine.service.list_()] == [["/up"]]
    assert await names(engine) == ["/done", "/down", "/up"]
    assert [row.names[0] for row in await engine.service.list_(limit=2)] == ["/done", "/down"]
    assert [row.names[0] for row in await engine.service.list_(filters={"status": ["created", "exited"]})] == [
        "/done",
        "/down",
    ]
    assert [row.names[0] for row in await engine.service.list_(filters={"exited": ["3"]})] == ["/done"]


async def test_filters(engine):
    first = await engine.create(
        "web-1", Labels={"a": "b"}, ExposedPorts={"80/tcp": {}}, HostConfig={"Binds": ["data:/d"]}
    )
    second = await engine.create("db", Labels={"a": "c"}, HostConfig={"NetworkMode": "mine"})
    assert await names(engine, name=["web"]) == ["/web-1"]
    assert await names(engine, name=["^/?db$"]) == ["/db"]
    assert await names(engine, name=["["]) == []
    assert await names(engine, id=[first[:10]]) == ["/web-1"]
    assert await names(engine, label=["a"]) == ["/db", "/web-1"]
    assert await names(engine, label=["a=b"]) == ["/web-1"]
    assert await names(engine, label=["a=b", "a=c"]) == []
    assert await names(engine, volume=["data"]) == ["/web-1"]
    assert await names(engine, volume=["/d"]) == ["/web-1"]
    assert await names(engine, network=["mine"]) == ["/db"]
    assert await names(engine, ancestor=["busybox:latest"]) == ["/db", "/web-1"]
    assert await names(engine, ancestor=["other"]) == []
    assert await names(engine, before=[second]) == ["/web-1"]
    assert await names(engine, since=["web-1"]) == ["/db"]
    assert await names(engine, expose=["80"]) == ["/web-1"]
    assert await names(engine, expose=["70-90/tcp"]) == ["/web-1"]
    assert await names(engine, publish=["80"]) == []
    assert await names(engine, health=["none"]) == ["/db", "/web-1"]
    with pytest.raises(InvalidArgument, match="invalid filter 'status=odd'"):
        await names(engine, status=["odd"])
    with pytest.raises(NotFound, match="No such container: nope"):
        await names(engine, before=["nope"])


async def test_inspect_has_what_clients_read(engine):
    cid = await engine.create("seen", Cmd=["a", "b"], Env=["X=1"], HostConfig={"Memory": 64 << 20})
    shown = json.loads(codec.encode(await engine.service.inspect("seen")))
    assert (shown["Id"], shown["Name"], shown["Path"], shown["Args"]) == (cid, "/seen", "a", ["b"])
    assert shown["State"] == {
        "Status": "created",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "0001-01-01T00:00:00Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    config, host = shown["Config"], shown["HostConfig"]
    assert config["Image"] == "busybox"
    assert config["Env"] == ["X=1", "PATH=/bin", "IMAGE=1"]
    assert config["Hostname"] == cid[:12]
    assert not {"Healthcheck", "ExposedPorts", "StopSignal", "HostConfig", "NetworkingConfig"} & set(config)
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (64 << 20, 128 << 20, 64 << 20)
    assert (host["NetworkMode"], host["IpcMode"], host["CgroupnsMode"]) == ("bridge", "private", "private")
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert "/proc/kcore" in host["MaskedPaths"]
    assert not {"Mounts", "Tmpfs", "Sysctls", "Init"} & set(host)
    assert shown["Mounts"] == []
    assert "SizeRw" not in shown
    await engine.service.start(cid)
    running = json.loads(codec.encode(await engine.service.inspect(cid[:12], size=True)))
    assert running["State"]["Running"] is True
    assert running["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert running["NetworkSettings"]["Networks"]["bridge"]["Gateway"] == "172.17.0.1"
    assert running["SizeRw"] == 11
    hosts = engine.settings.directory(cid) / "hosts"
    assert running["HostsPath"] == str(hosts)
    assert f"172.17.0.2\t{cid[:12]}\n" in hosts.read_text()


async def test_a_tag_that_moved_away_shows_the_id(engine):
    await engine.create("old")
    engine.images.resolve = lambda _reference: (_ for _ in ()).throw(NotFound("No such image"))
    (row,) = await engine.service.list_(all_=True)
    assert row.image == row.image_id
