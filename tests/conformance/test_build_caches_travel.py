"""Caches of builds at a real registry: carried out by one engine, brought in by another that has nothing else.

What is fetched is counted in the registry's own log: blobs that layers are, and those that documents are.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.registry import RealRegistry, real_registry

NOTHING = [{"Type": "cacheonly"}]
DOCKERFILE = """\
FROM {base} AS made
COPY a.txt /a.txt
RUN head -c 300000 /dev/urandom > /made
RUN true
FROM {base}
RUN head -c 200000 /dev/urandom > /random
COPY --from=made /made /made
ENV A=b
"""
STEPS = 6  # that the cache can have


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="module")
def base(registry: RealRegistry) -> str:
    """A base image that only the registry has."""
    name = f"{registry.host}/base/busybox:1"
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        engine.docker("tag", "busybox", name)
        engine.docker("push", name)
    return name


@pytest.fixture
def first() -> Iterator[Daemon]:
    with running_daemon() as engine:
        yield engine


@pytest.fixture
def second() -> Iterator[Daemon]:
    """An engine that has nothing."""
    with running_daemon() as engine:
        yield engine


@pytest.fixture
def context(tmp_path: Path, base: str) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "a.txt").write_text("a\n")
    (root / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    return root


def build(engine: Daemon, context: Path, **query: object) -> str:
    """What the classic API says of a build; its failure is an error here."""
    connection = _Socket(str(engine.socket))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(context, ".")
    asked = {"networkmode": "none", "version": "1", **query}
    encoded = {key: value if isinstance(value, str) else json.dumps(value) for key, value in asked.items()}
    connection.request(
        "POST", f"/build?{urlencode(encoded)}", packed.getvalue(), {"Content-Type": "application/x-tar"}
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, text
    messages = [json.loads(line) for line in text.splitlines()]
    errors = [message["error"] for message in messages if "error" in message]
    assert not errors, f"{errors}\n{engine.log_text()}"
    return "".join(message.get("stream") or f"{message.get('status', '')}\n" for message in messages)


class _Socket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self._path)


def to(kind: str, **attributes: str) -> list[dict[str, object]]:
    """One cache, as BuildKit's clients name it."""
    return [{"Type": kind, "Attrs": attributes}]


def cached_steps(output: str) -> int:
    return output.count(" ---> Using cache")


def built_id(output: str) -> str:
    return re.findall(r"Successfully built (\w+)", output)[-1]


def blobs_of(registry: RealRegistry, name: str) -> tuple[str, set[str]]:
    """The configuration and the layers of a manifest at the registry."""
    repository, _, tag = name.removeprefix(f"{registry.host}/").rpartition(":")
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"http://{registry.host}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found["config"]["digest"], {layer["digest"] for layer in found["layers"]}


def test_a_build_that_an_imported_cache_has_fetches_no_layer(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path
) -> None:
    cache = f"{registry.host}/app/cache:max"
    made = build(first, context, t="app:1", cacheto=to("registry", ref=cache, mode="max"))
    assert cached_steps(made) == 0
    config, layers = blobs_of(registry, cache)
    before = len(registry.requests())
    found = build(second, context, cachefrom=[cache], outputs=NOTHING)
    assert cached_steps(found) == STEPS - 1  # of `made` all but what nothing looks at
    assert built_id(found) == built_id(made)
    fetched = [path.rpartition("/")[2] for path in registry.requests()[before:]]
    assert config in fetched
    assert not layers & set(fetched)
    assert len(fetched) == 2  # the cache's records, and the configuration of the base
    assert second.out("images", "-q") == ""
    # as an image it needs its layers, and is the same one
    build(second, context, cachefrom=[cache], t="app:1")
    assert second.inspect("app:1")["Id"] == first.inspect("app:1")["Id"]
    program = ["run", "--rm", "--network", "none", "app:1", "sha256sum", "/made", "/random"]
    assert second.out(*program) == first.out(*program)
    fetched = [path.rpartition("/")[2] for path in registry.requests()[before:]]
    assert len(layers & set(fetched)) == len(layers) - 1 - 1  # without COPY a.txt and RUN of the other stage
    # and what came is the engine's own cache from then on
    before = len(registry.requests())
    assert cached_steps(build(second, context, t="app:2")) == STEPS - 1
    assert not layers & {path.rpartition("/")[2] for path in registry.requests()[before:]}
