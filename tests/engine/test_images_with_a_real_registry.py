"""Images through the API and a real registry: plain, with passwords and over TLS; clients are docker-py and raw HTTP."""

import asyncio
import contextlib
import io
import json
import socket
import subprocess
import tarfile
import threading
from importlib import import_module
from types import SimpleNamespace

import docker
import pytest
from tests.lab.registry import real_registry

from corten.api.router import Router
from corten.api.routes import routes_of
from corten.api.routing import json_response, route
from corten.api.server import Server
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.service import ImageService
from corten.engine.images.transfer import TransferService
from corten.registry.client import RegistryClient
from corten.registry.endpoints import RegistryConfig
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.testing.stores import TarLayers

MODULES = ["auth", "distribution"] + [
    f"images.{name}" for name in ("archive", "create", "inspect", "list", "push", "remove", "search", "tag")
]
# user "tester", password "secret", as htpasswd -B writes it
HTPASSWD = "tester:$2y$05$I3IA5wuWoXKz/AV72D.ak.0fxMdrSu1jUaZTrIslsXy22t6t9bJvu\n"


@route("GET", "/version")
async def version(request, services):
    return json_response({"ApiVersion": "1.50", "Version": "28.0.0", "Os": "linux"})


class NoContainers:
    def uses(self, image_id):
        return []


@contextlib.contextmanager
def engine(tmp_path, **config):
    """The image routes on a unix socket, on a loop in a thread."""
    tmp_path.mkdir()
    path = tmp_path / "api.sock"
    ready, stop = threading.Event(), None
    loop = asyncio.new_event_loop()

    async def serve():
        nonlocal stop
        stop = asyncio.Event()
        database = Database(tmp_path / "meta.db")
        library = ImageLibrary(blobs=ContentStore(tmp_path), layers=TarLayers(), records=database.table("images"))
        events = Events()
        client = RegistryClient(RegistryConfig(**config), environ={})
        services = SimpleNamespace(
            images=ImageService(library=library, events=events, containers=NoContainers()),
            transfer=TransferService(
                library=library,
                client=client,
                events=events,
                spool_dir=tmp_path / "spool",
                origins=database.table("blob_origins"),
            ),
            events=events,
        )
        routes = [entry for name in MODULES for entry in routes_of(import_module(f"corten.api.routes.{name}"))]
        server = Server(router=Router([*routes, *version.routes]), services=services)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(64)
        listener.setblocking(False)
        await server.listen(listener)
        ready.set()
        await stop.wait()
        await server.close()
        database.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    try:
        yield docker.DockerClient(base_url=f"unix://{path}", version="1.50", timeout=120)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def layer_tar(size=300_000):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = size
        tar.addfile(entry, io.BytesIO(bytes(range(256)) * (size // 256 + 1)))
    return buffer.getvalue()


def imported(client, name):
    answer = client.api.import_image_from_data(layer_tar(), repository=name, tag="1")
    return json.loads(answer)["status"]


def test_an_image_goes_to_a_registry_and_comes_back(tmp_path):
    with real_registry(tmp_path / "registry") as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        image_id = imported(client, name)
        events = [json.loads(line) for line in client.images.push(name, tag="1").splitlines()]
        digest = events[-1]["aux"]["Digest"]
        assert not any("error" in event for event in events)
        client.images.remove(f"{name}:1")
        assert client.images.list() == []
        image = client.images.pull(name, tag="1")
        assert (image.id, image.tags) == (image_id, [f"{name}:1"])
        assert image.attrs["RepoDigests"] == [f"{name}@{digest}"]
        found = client.images.get_registry_data(f"{name}:1")
        assert found.id == digest
        assert found.has_platform("linux/amd64") or found.has_platform("linux/arm64")


def test_a_password_is_needed_where_the_registry_wants_one(tmp_path):
    passwords = {"username": "tester", "password": "secret"}
    with real_registry(tmp_path / "registry", htpasswd=HTPASSWD) as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        imported(client, name)
        refused = [json.loads(line) for line in client.images.push(name, tag="1").splitlines()]
        assert "no basic auth credentials" in refused[-1]["error"]
        told = [json.loads(line) for line in client.images.push(name, tag="1", auth_config=passwords).splitlines()]
        assert "aux" in told[-1]
        assert client.login(**passwords, registry=registry.host)["Status"] == "Login Succeeded"
        with pytest.raises(docker.errors.APIError, match="unauthorized") as caught:
            client.login(username="tester", password="wrong", registry=registry.host, reauth=True)
        assert caught.value.status_code == 401
        client.images.remove(f"{name}:1")
        assert client.images.pull(name, tag="1", auth_config=passwords).tags == [f"{name}:1"]


def test_tls_is_spoken_where_the_registry_speaks_it(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with real_registry(tmp_path / "registry", certificate=folder) as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        imported(client, name)
        told = [json.loads(line) for line in client.images.push(name, tag="1").splitlines()]
        assert "aux" in told[-1]
        client.images.remove(f"{name}:1")
        assert client.images.pull(name, tag="1")


def test_a_mirror_serves_docker_hubs_images(tmp_path):
    with real_registry(tmp_path / "registry") as registry:
        with engine(tmp_path / "one") as client:
            name = f"{registry.host}/library/demo"
            image_id = imported(client, name)
            client.images.push(name, tag="1")
        with engine(tmp_path / "two", mirrors=(f"http://{registry.host}",)) as client:
            assert client.images.pull("demo", tag="1").id == image_id
            assert client.images.get("demo:1").tags == ["demo:1"]


def test_errors_are_what_docker_py_expects(tmp_path):
    with real_registry(tmp_path / "registry") as registry, engine(tmp_path / "engine") as client:
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get("nope")
        with pytest.raises(docker.errors.NotFound, match="manifest unknown"):
            client.images.pull(f"{registry.host}/nope", tag="1")
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.remove("nope")
        with pytest.raises(docker.errors.APIError, match="invalid reference format"):
            client.images.pull("Bad", tag="1")


def test_save_and_load_pass_through_docker_py(tmp_path):
    with engine(tmp_path / "one") as client:
        image_id = imported(client, "app")
        data = b"".join(client.images.get("app:1").save(named=True))
    with engine(tmp_path / "two") as client:
        (image,) = client.images.load(data)
        assert (image.id, image.tags) == (image_id, ["app:1"])
        assert client.images.prune({"dangling": False})["ImagesDeleted"]
