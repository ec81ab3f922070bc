"""An image engine on small stores, without containers, mounts or a network beyond loopback."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.listing import ImageListing
from corten.engine.images.service import ImageService
from corten.engine.images.transfer import TransferService
from corten.registry.client import RegistryClient
from corten.registry.endpoints import RegistryConfig
from corten.registry.timings import Timings
from corten.store.content import ContentStore
from corten.store.db import Database, RecordTable
from corten.testing.registry import FakeRegistry
from corten.testing.stores import TarLayers

FAST = Timings(connect_s=5, stall_s=5, retry_base_s=0.01, retry_cap_s=0.02, attempts=3)


class Containers:
    def __init__(self):
        self.by_image = {}

    def uses(self, image_id):
        return self.by_image.get(image_id, [])


@dataclass
class Engine:
    blobs: ContentStore
    layers: TarLayers
    records: RecordTable
    library: ImageLibrary
    images: ImageService
    transfer: TransferService
    containers: Containers
    events: Events
    client: RegistryClient
    rows: Callable[[str], RecordTable]
    root: Path

    def restarted(self):
        """A second engine on what the first one stored."""
        library = ImageLibrary(blobs=self.blobs, layers=self.layers, records=self.records)
        library.load()
        return library

    @property
    def listing(self):
        return ImageListing(library=self.library, containers=self.containers)

    def digests(self):
        return set(self.blobs.digests())

    def ingests(self):
        return os.listdir(self.root / "ingest")

    def actions(self):
        return [event.action for event in self.events.past()]


@pytest.fixture
def make_engine(tmp_path):
    databases, clients = [], []

    def make(name="engine", *, timings=FAST, **config):
        (tmp_path / name).mkdir(exist_ok=True)
        databases.append(Database(tmp_path / name / "meta.db"))
        blobs, layers, records = ContentStore(tmp_path / name), TarLayers(), databases[-1].table("images")
        library = ImageLibrary(blobs=blobs, layers=layers, records=records)
        library.load()
        events, containers = Events(), Containers()
        client = RegistryClient(RegistryConfig(certs_dirs=(), **config), timings=timings, environ={})
        clients.append(client)
        images = ImageService(library=library, events=events, containers=containers)
        transfer = TransferService(
            library=library,
            client=client,
            events=events,
            spool_dir=tmp_path / name / "spool",
            origins=databases[-1].table("blob_origins"),
        )
        return Engine(
            blobs,
            layers,
            records,
            library,
            images,
            transfer,
            containers,
            events,
            client,
            databases[-1].table,
            tmp_path / name,
        )

    yield make
    for client in clients:
        client.close()
    for database in databases:
        database.close()


@pytest.fixture
def engine(make_engine):
    return make_engine()


@pytest.fixture
def registry():
    with FakeRegistry() as fake:
        yield fake


async def collect(messages):
    return [message async for message in messages]


def words(messages):
    """(id, status) of each message, without the ones that only tell how far something is."""
    return [(m.id, m.status) for m in messages if not (m.progress_detail and m.progress_detail.total)]


async def body_of(data, step=10_000):
    for start in range(0, len(data), step):
        yield data[start : start + step]
