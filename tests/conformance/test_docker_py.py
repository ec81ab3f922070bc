"""The same from Python: docker-py, unmodified."""

import io
import tarfile
from collections.abc import Iterator

import docker
import docker.errors
import pytest
from tests.lab.daemon import Daemon


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    connection = docker.DockerClient(base_url=daemon.host, timeout=60)
    yield connection
    connection.close()


def test_run_returns_output_and_raises_on_failure(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert caught.value.exit_status == 3
    assert caught.value.stderr == b"bad\n"
    with pytest.raises(docker.errors.ImageNotFound):
        client.api.create_container("nosuchimage:1", "true")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nosuchcontainer")


def test_life_of_a_container(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 1000", detach=True, init=True, labels={"a": "b"}, name="pyrun")
    assert container.status == "created" or container.status == "running"
    container.reload()
    assert container.status == "running"
    assert client.containers.list(filters={"label": "a=b"}) == [container]
    code, output = container.exec_run(["sh", "-c", "echo out; exit 2"])
    assert (code, output) == (2, b"out\n")
    _code, (out, err) = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
    assert (out, err) == (b"out\n", b"err\n")
    container.pause()
    container.unpause()
    container.rename("pyrun2")
    assert container.top()["Titles"][0] == "UID"
    stats = container.stats(stream=False)
    assert stats["pids_stats"]["current"] >= 1
    container.stop(timeout=5)
    assert container.wait()["StatusCode"] == 143
    container.start()
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.remove()
    assert client.containers.list(all=True, filters={"name": "pyrun2"}) == []


def test_logs_attach_and_stdin(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "cat", stdin_open=True)
    sock = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    container.start()
    sock._sock.sendall(b"through\n")
    sock._sock.shutdown(1)
    assert container.wait()["StatusCode"] == 0 or container.kill() is None
    assert container.logs() == b"through\n"
    assert list(container.logs(stream=True)) == [b"through\n"]
    sock.close()
    container.remove()


def test_images_volumes_networks_and_system(client: docker.DockerClient) -> None:
    image = client.images.get("busybox")
    assert image.tag("pytagged", "1")
    assert "pytagged:1" in client.images.get("busybox").tags
    client.images.remove("pytagged:1")
    saved = b"".join(image.save(named=True))
    assert client.images.load(saved)[0].id == image.id
    assert image.history()
    volume = client.volumes.create("pyvol", labels={"x": "y"})
    assert client.volumes.list(filters={"label": "x=y"}) == [volume]
    volume.remove()
    assert {network.name for network in client.networks.list()} >= {"bridge", "host", "none"}
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.50"
    assert client.info()["Driver"] == "overlay2" or client.info()["Driver"]
    assert client.df()["Images"]


def test_events_are_decoded(client: docker.DockerClient) -> None:
    events = client.events(decode=True, filters={"event": "die"})
    container = client.containers.run("busybox", "true", detach=True)
    event = next(events)
    assert event["Action"] == "die"
    assert event["Actor"]["ID"] == container.id
    events.close()
    container.remove()


def test_archives(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "true")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("dir/file")
        info.size, info.uid = 4, 7
        tar.addfile(info, io.BytesIO(b"data"))
    assert container.put_archive("/tmp", buffer.getvalue())
    stream, stat = container.get_archive("/tmp/dir")
    assert stat["name"] == "dir"
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        member = tar.extractfile("dir/file")
        assert member is not None
        assert member.read() == b"data"
        assert tar.getmember("dir/file").uid == 7
    assert {"Path": "/tmp/dir/file", "Kind": 1} in container.diff()
    exported = tarfile.open(fileobj=io.BytesIO(b"".join(container.export())))
    assert "tmp/dir/file" in exported.getnames()
    container.remove()
