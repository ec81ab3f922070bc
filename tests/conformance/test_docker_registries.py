"""login, push, pull, search and logout at a real registry with passwords: Docker's client and Corten's, one config.json."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.registry import RealRegistry, real_registry

# user "tester", password "secret", as htpasswd -B writes it
HTPASSWD = "tester:$2y$05$I3IA5wuWoXKz/AV72D.ak.0fxMdrSu1jUaZTrIslsXy22t6t9bJvu\n"
HELPER = """#!/bin/sh
# keeps what it is given in a file, and gives it back whoever asks
file="$(dirname "$0")/kept"
case "$1" in
    store) cat > "$file" ;;
    get) cat "$file" 2> /dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
    erase) rm -f "$file" ;;
esac
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """A registry with a password."""
    with real_registry(tmp_path_factory.mktemp("registry"), htpasswd=HTPASSWD) as made:
        yield made


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    """A daemon with busybox."""
    with running_daemon() as one:
        one.docker("load", "-i", str(images.busybox()))
        yield one


@pytest.fixture(params=["docker", "corten"])
def client(request: pytest.FixtureRequest, engine: Daemon) -> Iterator[object]:
    """Either client, logged in nowhere."""
    config = Path(engine.environment["DOCKER_CONFIG"]) / "config.json"
    config.unlink(missing_ok=True)
    yield getattr(engine, request.param)
    config.unlink(missing_ok=True)


def config_of(engine: Daemon) -> dict:
    return json.loads((Path(engine.environment["DOCKER_CONFIG"]) / "config.json").read_text())


def test_a_login_opens_the_registry_and_a_logout_closes_it(client, engine: Daemon, registry: RealRegistry) -> None:
    name = f"{registry.host}/team/busybox:{client.__name__}"
    client("tag", "busybox", name)
    refused = client("push", name, check=False)
    assert refused.returncode == 1
    assert "no basic auth credentials" in refused.stderr + refused.stdout
    wrong = client("login", "-u", "tester", "--password-stdin", registry.host, input="wrong", check=False)
    assert wrong.returncode == 1
    assert "unauthorized: authentication required" in wrong.stderr
    done = client("login", "-u", "tester", "--password-stdin", registry.host, input="secret")
    assert "Login Succeeded" in done.stdout
    assert config_of(engine)["auths"] == {registry.host: {"auth": "dGVzdGVyOnNlY3JldA=="}}
    assert "digest: sha256:" in client("push", name).stdout
    client("rmi", name)
    assert f"Downloaded newer image for {name}" in client("pull", name).stdout
    assert f"{registry.host}/team/busybox" in client("search", f"{registry.host}/busybox").stdout
    assert "Removing login credentials" in client("logout", registry.host).stdout
    assert config_of(engine).get("auths", {}) == {}
    client("rmi", name)
    assert client("pull", name, check=False).returncode == 1


def test_each_client_uses_the_login_of_the_other(engine: Daemon, registry: RealRegistry) -> None:
    name = f"{registry.host}/team/busybox:both"
    engine.docker("tag", "busybox", name)
    engine.docker("login", "-u", "tester", "--password-stdin", registry.host, input="secret")
    engine.corten("push", name)
    engine.corten("logout", registry.host)
    engine.corten("login", "-u", "tester", "--password-stdin", registry.host, input="secret")
    engine.docker("pull", name)
    engine.docker("logout", registry.host)
    engine.docker("rmi", name)


def test_a_credential_helper_keeps_the_password(client, engine: Daemon, registry: RealRegistry) -> None:
    helper = engine.root / "docker-credential-kept"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    folder = Path(engine.environment["DOCKER_CONFIG"])
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"credsStore": "kept"}')
    name = f"{registry.host}/team/busybox:helper-{client.__name__}"
    client("tag", "busybox", name)
    path, engine.environment["PATH"] = engine.environment["PATH"], f"{engine.root}:{engine.environment['PATH']}"
    try:
        client("login", "-u", "tester", "--password-stdin", registry.host, input="secret")
        assert config_of(engine)["auths"] == {registry.host: {}}
        client("push", name)
        client("logout", registry.host)
        assert not (engine.root / "kept").exists()
        assert client("push", name, check=False).returncode == 1
    finally:
        engine.environment["PATH"] = path
        client("rmi", name)
