"""Base images of a client's OCI layout: what its configuration says of blobs that are here has to be so."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from corten.build.bases import Bases
from corten.build.caching.layout import LayoutSource
from corten.build.caching.pairs import LayerPairs
from corten.build.caching.passed import PassedDirectories
from corten.build.dockerfile.contexts import LayoutName
from corten.build.filesystem import FileSystem
from corten.build.session import stores
from corten.engine.images.progress import Progress
from corten.errors import DataLoss, InvalidArgument
from corten.lib.grpc.status import Code, GrpcError
from corten.testing.made_images import MadeImage, digest_of, make_image, tar_of

HONEST, EVIL = tar_of({"a": b"1"}), gzip.compress(tar_of({"a": b"evil"}))


class Store:
    """Blobs that came with other images, and the layers that are unpacked."""

    def __init__(self, *blobs: bytes, layers: tuple[str, ...] = ()) -> None:
        self.blobs = {digest_of(blob): blob for blob in blobs}
        self.layers = layers

    def has_blob(self, digest: str) -> bool:
        return digest in self.blobs

    def has_layer(self, chain_id: str) -> bool:
        return chain_id in self.layers

    def open_blob(self, digest: str) -> io.BytesIO:
        return io.BytesIO(self.blobs[digest])


def written(path: Path, image: MadeImage, manifest: dict[str, Any]) -> None:
    raw = json.dumps(manifest).encode()
    (path / "blobs/sha256").mkdir(parents=True)
    for data in (image.config, raw):
        (path / "blobs/sha256" / digest_of(data)[7:]).write_bytes(data)
    entry = {"mediaType": manifest["mediaType"], "digest": digest_of(raw), "size": len(raw)}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


async def found(path: Path, store: Store, reference: str = "oci-layout://given") -> FileSystem:
    never: Any = None
    library: Any = SimpleNamespace(catalog=SimpleNamespace(get=lambda _id: None))
    lazy: Any = SimpleNamespace(offer_layout=lambda *_what: None)
    lease: Any = SimpleNamespace(add=lambda *_keys: None)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        bases = Bases(
            library=library, puller=never, lazy=lazy, lease=lease, offers=never, always_pull=False,
            directories=PassedDirectories({}, {"given": fd}), pairs=LayerPairs(store),
        )  # fmt: skip
        base = await bases.resolve(reference, "")
        return bases.filesystems[base.image_id]
    finally:
        os.close(fd)


@pytest.fixture
def image() -> MadeImage:
    return make_image([{"a": b"1"}])


def lying(image: MadeImage) -> dict[str, Any]:
    """A manifest with the image's configuration, and another layer than that says."""
    manifest: dict[str, Any] = json.loads(image.manifest)
    manifest["layers"][0] |= {"digest": digest_of(EVIL), "size": len(EVIL)}
    return manifest


def test_a_layer_that_is_here_is_not_believed_to_be_another_blob(tmp_path: Path, image: MadeImage) -> None:
    store = Store(EVIL, layers=(digest_of(HONEST),))
    written(tmp_path, image, lying(image))
    with pytest.raises(DataLoss, match="not those that its configuration names"):
        asyncio.run(found(tmp_path, store))


def test_one_that_is_what_it_says_is_taken(tmp_path: Path, image: MadeImage) -> None:
    store = Store(image.layers[0], layers=(digest_of(HONEST),))
    written(tmp_path, image, json.loads(image.manifest))
    assert asyncio.run(found(tmp_path, store)).chain_id == digest_of(HONEST)


def test_what_is_no_reference_of_a_layout_is_told(tmp_path: Path, image: MadeImage) -> None:
    written(tmp_path, image, json.loads(image.manifest))
    with pytest.raises(InvalidArgument, match="invalid OCI layout reference"):
        asyncio.run(found(tmp_path, Store(), "oci-layout://given@sha256:short"))


def test_no_thread_waits_for_a_client_that_others_need(
    tmp_path: Path, image: MadeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, image, json.loads(image.manifest))
    threads: set[str] = set()
    plainly = LayoutSource._open

    def watched(self: LayoutSource, path: list[str]) -> BinaryIO:
        threads.add(threading.current_thread().name)
        return plainly(self, path)

    monkeypatch.setattr(LayoutSource, "_open", watched)
    asyncio.run(found(tmp_path, Store()))
    assert threads == {"corten-aside"}


async def test_a_client_that_does_not_give_what_it_has_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        """Takes every call, and never answers."""

        @asynccontextmanager
        async def stream(self, _method: str, _metadata: object = ()) -> AsyncIterator[Silent]:
            yield self

        async def send_bytes(self, _message: bytes) -> None:
            pass

        async def end(self) -> None:
            pass

        async def receive_bytes(self) -> bytes | None:
            await asyncio.Event().wait()
            return None

    monkeypatch.setattr(stores, "_READ_S", 0.01)
    client: Any = Silent()
    directories = stores.SessionDirectories(client)
    digest = digest_of(b"")
    with pytest.raises(GrpcError, match="the client's store has not given") as caught:
        await directories.image(LayoutName(store="s", tag="", digest=digest), Progress())
    assert caught.value.status is Code.DEADLINE_EXCEEDED
