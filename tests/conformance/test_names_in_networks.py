"""Names in user-defined networks with the real docker CLI and compose: found, kept apart, following health and joins."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab import peers
from tests.lab.daemon import Daemon

COMPOSE = """
services:
  web:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
  ask:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
"""


@pytest.fixture
def net(daemon: Daemon) -> Iterator[str]:
    """A network; its containers and itself go afterwards."""
    daemon.docker("network", "create", "net")
    yield "net"
    names = daemon.out("ps", "-aq").split()
    if names:
        daemon.docker("rm", "-f", *names)
    daemon.docker("network", "rm", "net")


def run(daemon: Daemon, name: str, *flags: str) -> str:
    return daemon.out("run", "-d", "--name", name, *flags, "busybox", "sleep", "1000")


def lookup(daemon: Daemon, asker: str, name: str) -> set[str]:
    """The addresses that nslookup finds inside of a container."""
    out = daemon.docker("exec", asker, "nslookup", "-type=a", name, check=False).stdout
    return {line.split()[1] for line in out.partition("\n\n")[2].splitlines() if line.startswith("Address: ")}


def address(daemon: Daemon, container: str, network: str = "net") -> str:
    found: str = daemon.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_containers_find_each_other_by_name_alias_id_and_address(daemon: Daemon, net: str) -> None:
    one = run(daemon, "one", "--network", net, "--network-alias", "first", "-h", "host1", "--link", "two:store")
    run(daemon, "two", "--network", net)
    run(daemon, "far")
    for name in ("one", "first", one[:12], "host1"):
        assert lookup(daemon, "two", name) == {address(daemon, "one")}, name
    assert lookup(daemon, "one", "store") == {address(daemon, "two")}
    assert "name = one.net" in daemon.out("exec", "two", "nslookup", address(daemon, "one"))
    assert daemon.docker("exec", "two", "ping", "-c1", "-W5", "first").returncode == 0
    assert lookup(daemon, "far", "one") == set()
    names = daemon.inspect("one")["NetworkSettings"]["Networks"]["net"]["DNSNames"]
    assert names == ["one", "first", one[:12], "host1"]
    daemon.docker("rename", "one", "uno")
    assert lookup(daemon, "two", "uno") == {address(daemon, "uno")}
    assert lookup(daemon, "two", "one") == set()


def test_an_alias_of_three_gives_three_and_an_unhealthy_one_vanishes(daemon: Daemon, net: str) -> None:
    check = ["--health-cmd", "test ! -e /ill", "--health-interval", "200ms", "--health-retries", "1"]
    for number in range(3):
        run(daemon, f"web{number}", "--network", net, "--network-alias", "web", *check)
    run(daemon, "ask", "--network", net)
    addresses = {number: address(daemon, f"web{number}") for number in range(3)}
    until(lambda: lookup(daemon, "ask", "web") == set(addresses.values()))
    daemon.docker("exec", "web1", "touch", "/ill")
    until(lambda: lookup(daemon, "ask", "web") == {addresses[0], addresses[2]})
    daemon.docker("exec", "web1", "rm", "/ill")
    until(lambda: lookup(daemon, "ask", "web") == set(addresses.values()))
    daemon.docker("rm", "-f", "web0")
    assert lookup(daemon, "ask", "web") == {addresses[1], addresses[2]}


def test_connect_and_disconnect_of_a_running_container(daemon: Daemon, net: str) -> None:
    run(daemon, "late", "-h", "latehost")
    run(daemon, "two", "--network", net)
    assert daemon.docker("network", "connect", "--ip", "203.0.113.9", net, "late", check=False).returncode != 0
    assert lookup(daemon, "two", "late") == set()
    daemon.docker("network", "connect", "--alias", "second", net, "late")
    here = address(daemon, "late")
    assert here
    assert lookup(daemon, "two", "second") == lookup(daemon, "two", "late") == {here}
    assert lookup(daemon, "late", "two") == {address(daemon, "two")}
    assert f"{here}\tlatehost" in daemon.out("exec", "late", "cat", "/etc/hosts")
    assert "nameserver 127.0.0.11" in daemon.out("exec", "late", "cat", "/etc/resolv.conf")
    assert "late" in daemon.out("network", "inspect", net)
    again = daemon.docker("network", "connect", net, "late", check=False)
    assert "endpoint with name late already exists in network net" in again.stderr

    daemon.docker("network", "disconnect", "bridge", "late")
    assert daemon.out("exec", "late", "ip", "route").startswith("default via 172.")
    assert list(daemon.inspect("late")["NetworkSettings"]["Networks"]) == [net]

    daemon.docker("network", "disconnect", net, "late")
    assert lookup(daemon, "two", "second") == set()
    assert here not in daemon.out("exec", "late", "cat", "/etc/hosts")
    assert daemon.out("exec", "late", "ip", "-o", "link").count("\n") == 0
    assert daemon.inspect("late")["NetworkSettings"]["Networks"] == {}


def test_a_running_container_joins_a_network_with_ipv6(daemon: Daemon, net: str) -> None:
    daemon.docker("network", "create", "--ipv6", "six")
    run(daemon, "one", "--network", net)
    run(daemon, "two", "--network", "six")
    daemon.docker("network", "connect", "six", "one")
    assert daemon.docker("exec", "one", "ping", "-6", "-c1", "-W10", "two").returncode == 0
    assert "default via fd" in daemon.out("exec", "one", "ip", "-6", "route")
    daemon.docker("rm", "-f", "one", "two")
    daemon.docker("network", "rm", "six")


def test_a_stopped_container_keeps_the_network_that_it_joined(daemon: Daemon, net: str) -> None:
    run(daemon, "one", "--init")
    daemon.docker("network", "connect", net, "one")
    daemon.docker("restart", "-t", "0", "one")
    assert set(daemon.inspect("one")["NetworkSettings"]["Networks"]) == {"bridge", net}
    assert lookup(daemon, "one", "one") == {address(daemon, "one")}


def test_files_and_options_of_the_resolver(daemon: Daemon, net: str) -> None:
    flags = ["--dns", "192.0.2.53", "--dns-search", "example.test", "--dns-option", "timeout:1"]
    run(daemon, "one", "--network", net, *flags, "--add-host", "host.docker.internal:host-gateway")
    text = daemon.out("exec", "one", "cat", "/etc/resolv.conf", "/etc/hosts")
    assert text.startswith("nameserver 127.0.0.11\nsearch example.test\noptions timeout:1 ndots:0\n")
    assert "# ExtServers: [192.0.2.53]" in text
    gateway = daemon.out("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    assert f"{gateway}\thost.docker.internal" in text


def test_names_are_back_after_a_restart_of_the_daemon(daemon: Daemon, net: str) -> None:
    run(daemon, "one", "--network", net)
    run(daemon, "two", "--network", net)
    for end in (daemon.stop, daemon.kill):
        end()
        daemon.start()
        assert lookup(daemon, "one", "two") == {address(daemon, "two")}
    daemon.docker("restart", "-t", "0", "two")
    assert lookup(daemon, "one", "two") == {address(daemon, "two")}


def test_a_container_in_anothers_network_has_its_names(daemon: Daemon, net: str) -> None:
    run(daemon, "one", "--network", net)
    run(daemon, "guest", "--network", "container:one")
    assert lookup(daemon, "guest", "one") == {address(daemon, "one")}


def test_compose_scales_a_service_that_resolves_to_all_its_containers(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    plugin = peers.folder() / "usr/libexec/docker/cli-plugins/docker-compose"
    base = [str(plugin), "-p", "app", "-f", str(tmp_path / "compose.yaml")]
    environment = {**daemon.environment, "DOCKER_HOST": daemon.host}

    def compose(*arguments: str) -> str:
        argv = [*base, *arguments]
        result = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    try:
        compose("up", "-d", "--scale", "web=3", "--pull", "never")
        members = {address(daemon, f"app-web-{number}", "app_default") for number in (1, 2, 3)}
        assert lookup(daemon, "app-ask-1", "web") == members
        assert len(members) == 3
        assert lookup(daemon, "app-web-1", "ask") == {address(daemon, "app-ask-1", "app_default")}
        compose("up", "-d", "--scale", "web=1", "--pull", "never")
        assert len(lookup(daemon, "app-ask-1", "web")) == 1
    finally:
        compose("down", "-t", "0")
    assert "app_default" not in daemon.out("network", "ls")
