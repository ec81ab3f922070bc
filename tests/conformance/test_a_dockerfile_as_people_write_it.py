"""A Dockerfile as beginners write it, word for word: Chinese comments, apt, pip, nginx; built, run, and asked for pages.

Its base is a stand-in of Debian's packages for the hub's image, pulled through a registry on loopback that mirrors the
hub; packages come from a repository of the test's own on the bridge.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images, packages
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.registry import real_registry

DOCKERFILE = """\
# 使用官方Python镜像作为基础镜像
FROM python:3.7-slim

# 安装Web服务器和数据库
RUN apt-get update \\
    && apt-get install -y nginx \\
    && apt-get install -y python3-pymysql

# 将应用程序源码复制到镜像中
COPY . /app

# 设置工作目录
WORKDIR /app

# 安装依赖项
RUN pip install -r requirements.txt

# 设置环境变量
ENV DB_HOST db

# expose端口
EXPOSE 80

# 开启Web服务器和数据库服务
CMD ["nginx", "-g", "daemon off;"]
"""
STAND_IN = """\
FROM python:3.11
RUN rm -f /etc/apt/sources.list.d/* && echo "deb [trusted=yes] http://packages:{port}/ ./" > /etc/apt/sources.list
"""


def wheel(name: str, version: str) -> tuple[str, bytes]:
    """A package for pip, of one module."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": b"ANSWER = 42\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_record(data)}\n" for path, data in files.items()) + f"{about}/RECORD,,\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, data in {**files, f"{about}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
    return f"{name}-{version}-py3-none-any.whl", file.getvalue()


def _record(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(data)}"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Daemon, str]]:
    """An engine, and the registry on loopback that it takes for the hub."""
    with real_registry(tmp_path / "registry") as registry, running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        engine.docker("load", "-i", str(images.python()))
        engine.stop()
        mirrors = {"registry-mirrors": [f"http://{registry.host}"], "insecure-registries": [registry.host]}
        (engine.root / "daemon.json").write_text(json.dumps(mirrors))
        engine.start()
        yield engine, registry.host


def test_it_is_built_and_serves(hub: tuple[Daemon, str], tmp_path: Path) -> None:
    daemon, registry = hub
    app = tmp_path / "app"
    (app / "wheels").mkdir(parents=True)
    name, data = wheel("leftpad", "1.0")
    (app / "wheels" / name).write_bytes(data)
    (app / "requirements.txt").write_text("--no-index\n--find-links wheels\nleftpad==1.0\n")
    (app / "app.py").write_text("import leftpad, pymysql\nprint(leftpad.ANSWER)\n")
    (app / "Dockerfile").write_text(DOCKERFILE)
    folder = packages.repository(
        images.debian_rootfs("python3", "python3-pip", "ca-certificates"), "nginx", "python3-pymysql"
    )
    daemon.docker("run", "--rm", "busybox", "true")  # the bridge is there with its first container
    (config,) = daemon.inspect("bridge")["IPAM"]["Config"]
    with packages.served(folder, config["Gateway"]) as port:
        publish_stand_in(daemon, registry, port)
        built = daemon.corten("build", "-t", "app", "--add-host", "packages:host-gateway", str(app), timeout=300)
    assert "] RUN pip install -r requirements.txt\n" in built.stderr
    assert daemon.inspect("app")["Config"]["ExposedPorts"] == {"80/tcp": {}}
    serves_and_finds_its_database(daemon)


def publish_stand_in(daemon: Daemon, registry: str, port: int) -> None:
    """python:3.7-slim is in the registry, and only there."""
    image = f"{registry}/library/python:3.7-slim"
    daemon.corten("build", "-t", image, "-", input=STAND_IN.format(port=port))
    daemon.docker("push", "-q", image)
    daemon.docker("rmi", image, "python:3.11")
    daemon.docker("builder", "prune", "-a", "-f")


def serves_and_finds_its_database(daemon: Daemon) -> None:
    daemon.docker("network", "create", "shop")
    daemon.docker("run", "-d", "--init", "--network", "shop", "--name", "db", "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--network", "shop", "--name", "web", "app")
    try:
        networks = daemon.inspect("web")["NetworkSettings"]["Networks"]
        address = networks["shop"]["IPAddress"]
        page = daemon.out("exec", "web", "python3", "-c", FETCH, timeout=60)
        assert "Welcome to nginx" in page
        with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
            assert b"Welcome to nginx" in answer.read()
        assert (
            daemon.out("exec", "web", "sh", "-c", 'getent hosts "$DB_HOST"').split()[0]
            == (daemon.inspect("db")["NetworkSettings"]["Networks"]["shop"]["IPAddress"])
        )
        assert daemon.out("exec", "web", "python3", "app.py") == "42"
    finally:
        daemon.docker("rm", "-f", "web", "db")
        daemon.docker("network", "rm", "shop")


# nginx needs a moment to listen: ask until it does
FETCH = """
import time, urllib.error, urllib.request
deadline = time.monotonic() + 30
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1/").read().decode())
        break
    except urllib.error.URLError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
"""
