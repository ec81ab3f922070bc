"""The volume use cases, on a real directory and database."""

import os

import pytest

from corten.engine.events import Events
from corten.engine.volumes import VolumeService
from corten.errors import Conflict, InvalidArgument, NotFound
from corten.spec.docker.volume import VolumeCreateRequest
from corten.store.db import Database
from corten.volumes.local import LocalDriver


class Users:
    def __init__(self):
        self.of = {}

    def volume_users(self, name):
        return self.of.get(name, [])


class World:
    def __init__(self, root):
        self.root = root
        self.users = Users()
        self.events = Events()
        self.database = Database(root / "meta.db")
        self.service = self.open()

    def open(self):
        return VolumeService(
            drivers={"local": LocalDriver(self.root / "volumes")},
            table=self.database.table("volumes"),
            events=self.events,
            users=self.users,
        )

    def names(self, **filters):
        return [volume.name for volume in self.service.list(filters).volumes]

    def said(self):
        return [(event.action, event.actor) for event in self.events.past()]


@pytest.fixture
def world(tmp_path):
    found = World(tmp_path)
    yield found
    found.database.close()


async def test_create_is_idempotent_and_survives_a_restart(world):
    request = VolumeCreateRequest(name="data", labels={"a": "b"})
    first = await world.service.create(request)
    assert await world.service.create(VolumeCreateRequest(name="data")) == first
    assert (first.labels, first.options, first.scope, first.driver) == ({"a": "b"}, None, "local", "local")
    assert os.path.isdir(first.mountpoint)
    assert world.said() == [("create", "data")]
    assert world.open().inspect("data") == first


async def test_a_volume_without_a_name_is_anonymous(world):
    volume = await world.service.create(VolumeCreateRequest())
    assert len(volume.name) == 64
    assert volume.labels == {"com.docker.volume.anonymous": ""}


@pytest.mark.parametrize("name", ["a", "../x", "/abs", "a/b", ".hidden", "-x", "a\nb", "a\0b", "x" * 256, "ä-name"])
async def test_names_that_are_no_names_are_refused(world, name):
    with pytest.raises(InvalidArgument):
        await world.service.create(VolumeCreateRequest(name=name))
    assert os.listdir(world.root / "volumes") == []


async def test_dockers_texts(world):
    with pytest.raises(NotFound, match="get nope: no such volume"):
        world.service.inspect("nope")
    with pytest.raises(NotFound, match='create xx: error looking up volume plugin p: plugin "p" not found'):
        await world.service.create(VolumeCreateRequest(name="xx", driver="p"))
    with pytest.raises(InvalidArgument, match='create xx: invalid option: "bogus"'):
        await world.service.create(VolumeCreateRequest(name="xx", driver_opts={"bogus": "1"}))
    await world.service.create(VolumeCreateRequest(name="xx"))
    world.users.of["xx"] = ["0123"]
    with pytest.raises(Conflict, match=r"remove xx: volume is in use - \[0123\]"):
        await world.service.remove("xx")


async def test_remove_takes_row_and_content(world):
    volume = await world.service.create(VolumeCreateRequest(name="data"))
    await world.service.remove("data")
    assert not os.path.exists(volume.mountpoint)
    assert world.names() == []
    assert world.open().list({}).volumes == []
    assert world.said()[-1] == ("destroy", "data")


async def test_filters(world):
    for name, labels in (("alpha", {"x": "1"}), ("beta", {"x": "2"}), ("alphabet", None)):
        await world.service.create(VolumeCreateRequest(name=name, labels=labels))
    world.users.of["beta"] = ["c"]
    assert world.names(name=["alpha"]) == ["alpha", "alphabet"]
    assert world.names(name=["^alpha$"]) == ["alpha"]
    assert world.names(label=["x"]) == ["alpha", "beta"]
    assert world.names(label=["x=2"]) == ["beta"]
    assert world.names(dangling=["true"]) == ["alpha", "alphabet"]
    assert world.names(dangling=["0"]) == ["beta"]
    assert world.names(driver=["other"]) == []
    assert world.names(name=["("]) == []
    with pytest.raises(InvalidArgument):
        world.names(dangling=["perhaps"])


async def test_prune_takes_anonymous_ones_and_all_on_request(world):
    anonymous = await world.service.create(VolumeCreateRequest())
    kept = await world.service.create(VolumeCreateRequest())
    await world.service.create(VolumeCreateRequest(name="named"))
    world.users.of[kept.name] = ["c"]
    with open(f"{anonymous.mountpoint}/file", "wb") as file:
        file.write(b"x" * 1000)
    report = await world.service.prune({})
    assert (report.volumes_deleted, report.space_reclaimed) == ([anonymous.name], 1000)
    assert world.names() == sorted([kept.name, "named"])
    assert (await world.service.prune({"all": ["true"]})).volumes_deleted == ["named"]
    assert (await world.service.prune({})).volumes_deleted is None


async def test_a_row_without_content_is_forgotten_and_content_without_a_row_is_taken_in(world):
    await world.service.create(VolumeCreateRequest(name="lost"))
    os.rename(world.root / "volumes/lost", world.root / "volumes/found")
    assert [volume.name for volume in world.open().list({}).volumes] == ["found"]


async def test_usage_counts_bytes_and_users(world):
    volume = await world.service.create(VolumeCreateRequest(name="data"))
    with open(f"{volume.mountpoint}/file", "wb") as file:
        file.write(b"x" * 123)
    world.users.of["data"] = ["a", "b"]
    (row,) = await world.service.usage()
    assert (row.usage_data.size, row.usage_data.ref_count) == (123, 2)


async def test_mount_and_release_tell_of_it(world):
    await world.service.ensure("data")
    path = await world.service.mount("data", "c1", destination="/d", read_only=True)
    assert path == world.service.inspect("data").mountpoint
    await world.service.release("data", "c1")
    mounted = next(event for event in world.events.past() if event.action == "mount")
    assert mounted.attributes["read/write"] == "false"
    assert world.said()[-1] == ("unmount", "data")
    await world.service.release("gone", "c1")
