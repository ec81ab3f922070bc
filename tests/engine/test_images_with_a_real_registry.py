"""Images through the API and a real registry: plain, with passwords and over TLS; clients are docker-py and raw HTTP."""

import asyncio
import contextlib
import io
import json
import random
import shutil
import socket
import tarfile
import threading
from importlib import import_module
from types import SimpleNamespace

import docker
import pytest
import requests
from tests.lab.registry import make_certificate, outside_address, real_registry

from corten.api.router import Router
from corten.api.routes import routes_of
from corten.api.routing import json_response, route
from corten.api.server import Server
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.listing import ImageListing
from corten.engine.images.service import ImageService
from corten.engine.images.transfer import TransferService
from corten.registry.client import RegistryClient
from corten.registry.endpoints import RegistryConfig
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.testing.stores import TarLayers
from corten.testing.tcp_proxy import CountingProxy

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
            listing=ImageListing(library=library, containers=NoContainers()),
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


def layer_tar(data=bytes(range(256)) * 1200):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def imported(client, name, *data):
    answer = client.api.import_image_from_data(layer_tar(*data), repository=name, tag="1")
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


def pushed(client, name, tag="1"):
    """Push, and give the messages."""
    told = [json.loads(line) for line in client.images.push(name, tag=tag).splitlines()]
    assert "aux" in told[-1], told[-1]
    return told


def test_tls_is_spoken_where_the_registry_speaks_it(tmp_path):
    folder = make_certificate(tmp_path / "tls", "127.0.0.1")
    with real_registry(tmp_path / "registry", certificate=folder) as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        imported(client, name)
        pushed(client, name)
        client.images.remove(f"{name}:1")
        assert client.images.pull(name, tag="1")


def test_a_registry_of_a_private_authority_is_trusted_by_certs_d_alone(tmp_path):
    certs = tmp_path / "certs.d"
    with (
        outside_address() as address,
        real_registry(
            tmp_path / "registry", certificate=make_certificate(tmp_path / "tls", address), address=address
        ) as registry,
        engine(tmp_path / "engine", certs_dirs=(str(certs),)) as client,
    ):
        name = f"{registry.host}/team/app"
        imported(client, name)
        refused = [json.loads(line) for line in client.images.push(name, tag="1").splitlines()]
        assert "x509: certificate signed by unknown authority" in refused[-1]["error"]
        (certs / registry.host).mkdir(parents=True)
        shutil.copy(tmp_path / "tls/crt", certs / registry.host / "ca.crt")
        pushed(client, name)
        with engine(tmp_path / "lax", certs_dirs=(), insecure=("198.51.100.0/24",)) as lax:
            assert lax.images.pull(name, tag="1")


def test_a_registry_that_wants_a_certificate_is_shown_the_one_of_certs_d(tmp_path):
    tls, mine = make_certificate(tmp_path / "tls", "127.0.0.1"), make_certificate(tmp_path / "mine", "127.0.0.2")
    certs = tmp_path / "certs.d"
    with (
        real_registry(tmp_path / "registry", certificate=tls, clients=mine / "crt") as registry,
        engine(tmp_path / "engine", certs_dirs=(str(certs),)) as client,
    ):
        name = f"{registry.host}/team/app"
        imported(client, name)
        refused = [json.loads(line) for line in client.images.push(name, tag="1").splitlines()]
        assert "certificate" in refused[-1]["error"]
        (certs / registry.host).mkdir(parents=True)
        shutil.copy(mine / "crt", certs / registry.host / "client.cert")
        shutil.copy(mine / "key", certs / registry.host / "client.key")
        pushed(client, name)


def test_a_blob_of_another_repository_is_mounted(tmp_path):
    with real_registry(tmp_path / "registry") as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        imported(client, name)
        pushed(client, name)
        client.images.get(f"{name}:1").tag(f"{registry.host}/other/app", "1")
        told = pushed(client, f"{registry.host}/other/app")
        assert "Mounted from team/app" in [message.get("status") for message in told]


def test_what_was_deleted_at_the_registry_is_pushed_again(tmp_path):
    with real_registry(tmp_path / "registry") as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        imported(client, name)
        digest = pushed(client, name)[-1]["aux"]["Digest"]
        found = requests.get(
            f"http://{registry.host}/v2/team/app/manifests/{digest}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
            timeout=30,
        ).json()
        paths = [f"blobs/{blob['digest']}" for blob in (found["config"], *found["layers"])]
        for path in [f"manifests/{digest}", *paths]:
            assert requests.delete(f"http://{registry.host}/v2/team/app/{path}", timeout=30).status_code == 202
        with engine(tmp_path / "two") as other:
            with pytest.raises(docker.errors.NotFound):
                other.images.pull(name, tag="1")
            assert pushed(client, name)[-1]["aux"]["Digest"] == digest
            assert other.images.pull(name, tag="1")


def test_all_tags_come_and_go(tmp_path):
    with real_registry(tmp_path / "registry") as registry, engine(tmp_path / "engine") as client:
        name = f"{registry.host}/team/app"
        imported(client, name)
        client.images.get(f"{name}:1").tag(name, "2")
        pushed(client, name, tag=None)
        for tag in ("1", "2"):
            client.images.remove(f"{name}:{tag}")
        (image,) = client.images.pull(name, all_tags=True)
        assert sorted(image.tags) == [f"{name}:1", f"{name}:2"]
        assert [row["name"] for row in client.images.search(f"{registry.host}/app")] == [name]


@pytest.mark.parametrize("within", [False, True], ids=["between chunks", "within a chunk"])
def test_a_large_upload_that_is_cut_comes_to_its_end(tmp_path, within):
    """Debian's registry (2.8) goes on behind the last whole chunk; of a part of one it wants nothing to be left."""
    data = random.Random(1).randbytes(40 << 20)
    with (
        real_registry(tmp_path / "registry") as registry,
        CountingProxy(registry.host) as proxy,
        engine(tmp_path / "engine") as client,
    ):
        name = f"{proxy.host}/team/app"
        imported(client, name, data)
        if within:
            proxy.cut_up_at = 30 << 20
        else:
            proxy.cut_up_before = b"Content-Range: 33554432-"
        digest = pushed(client, name)[-1]["aux"]["Digest"]
        assert proxy.cut_up_at is proxy.cut_up_before is None
        assert proxy.up < len(data) + (1 << 20) + (30 << 20) * within
        client.images.remove(f"{name}:1")
        assert client.images.pull(name, tag="1")
        assert client.images.get_registry_data(f"{name}:1").id == digest


def test_another_registry_is_mirrored_by_its_hosts_toml(tmp_path):
    certs = tmp_path / "certs.d"
    (certs / "reg.invalid").mkdir(parents=True)
    with (
        real_registry(tmp_path / "registry") as registry,
        engine(tmp_path / "one") as one,
        engine(tmp_path / "two", certs_dirs=(str(certs),)) as two,
    ):
        image_id = imported(one, f"{registry.host}/team/app")
        pushed(one, f"{registry.host}/team/app")
        (certs / "reg.invalid" / "hosts.toml").write_text(f'[host."http://{registry.host}"]\n')
        image = two.images.pull("reg.invalid/team/app", tag="1")
        assert (image.id, image.tags) == (image_id, ["reg.invalid/team/app:1"])


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
