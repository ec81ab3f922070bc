"""Images pulled, loaded and removed upon the overlay driver: the files are there, and gone again. Needs root."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.listing import ImageListing
from corten.engine.images.service import ImageService
from corten.engine.images.transfer import TransferService
from corten.errors import CortenError
from corten.registry.client import RegistryClient
from corten.registry.endpoints import RegistryConfig
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.store.snapshots.formats import Directories
from corten.store.snapshots.layered import LayeredSnapshots
from corten.testing.registry import FakeRegistry

pytestmark = pytest.mark.root


class NoContainers:
    def uses(self, image_id):
        return []


class Engine:
    def __init__(self, root):
        self.root = root
        root.mkdir(exist_ok=True)
        self.database = Database(root / "meta.db")
        self.layers = LayeredSnapshots(
            root / "snapshots",
            form=Directories(),
            layers=self.database.table("layers"),
            snapshots=self.database.table("snapshots"),
        )
        blobs = ContentStore(root / "content")
        self.library = ImageLibrary(blobs=blobs, layers=self.layers, records=self.database.table("images"))
        self.library.load()
        events = Events()
        client = RegistryClient(RegistryConfig(certs_dirs=()), environ={})
        self.images = ImageService(library=self.library, events=events, containers=NoContainers())
        self.listing = ImageListing(library=self.library, containers=NoContainers())
        self.transfer = TransferService(
            library=self.library,
            client=client,
            events=events,
            spool_dir=root / "spool",
            origins=self.database.table("blob_origins"),
        )

    def files(self, name):
        return {path.name for path in Path(self.root / "snapshots").rglob(name)}


@pytest.fixture
def make(tmp_path):
    made = []

    def start(name="engine"):
        made.append(Engine(tmp_path / name))
        return made[-1]

    yield start
    for engine in made:
        engine.database.close()


async def collect(messages):
    return [message async for message in messages]


async def pulled(engine, registry, **options):
    image = registry.add_image("demo", **options)
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    return image


async def test_layers_are_unpacked_and_found_again_after_a_restart(make):
    with FakeRegistry() as registry:
        engine = make()
        image = await pulled(engine, registry, files=[{"low": b"1"}, {"high": b"22"}])
        assert engine.files("low") == {"low"}
        assert engine.layers.has(engine.images.resolve(image.image_id).chain_id)
        assert engine.listing.inspect(image.image_id).size == 3
        again = make()
        assert again.images.resolve(f"{registry.host}/demo").id == image.image_id
        await again.images.remove(f"{registry.host}/demo")
        assert again.listing.count() == 0
        again.layers.purge()
        assert again.files("low") == again.files("high") == set()


async def test_a_snapshot_upon_a_forced_off_image_keeps_its_layers(make):
    with FakeRegistry() as registry:
        engine = make()
        image = await pulled(engine, registry)
        chain_id = engine.images.resolve(image.image_id).chain_id
        engine.layers.prepare("c1", chain_id)
        await engine.images.remove(image.image_id, force=True)
        assert engine.layers.has(chain_id)


@pytest.mark.parametrize("damage", ["trailing", "diff"])
async def test_a_layer_with_other_bytes_leaves_nothing(make, damage):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("evil")
        archive.addfile(entry)
    data = tar.getvalue()
    diff = hashlib.sha256(data).hexdigest()
    sent = data + b"more behind the end" if damage == "trailing" else data.replace(b"evil", b"evl\0")
    engine = make()
    from corten.engine.images.decompress import TarStream

    with pytest.raises(CortenError):
        engine.layers.apply("sha256:" + diff, "", TarStream(io.BytesIO(sent), diff_id="sha256:" + diff))
    engine.layers.purge()
    assert not engine.layers.has("sha256:" + diff)
    assert engine.files("ev*") == set()


async def test_an_import_a_commit_and_an_archive_go_round(make):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("etc/motd")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))

    async def body(data):
        yield data

    engine, other = make(), make("other")
    await collect(engine.transfer.import_image(body(tar.getvalue()), repository="made", tag="1"))
    data = b"".join([chunk async for chunk in await engine.transfer.save(["made:1"])])
    await collect(other.transfer.load(body(data)))
    assert other.images.resolve("made:1").id == engine.images.resolve("made:1").id
    assert other.files("motd") == {"motd"}
