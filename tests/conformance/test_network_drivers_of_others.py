"""Networks beyond the built-in bridge, by the real clients: of a plugin, between hosts (vxlan), without addresses."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.network.plugin import PluginServer
from tests.lab.daemon import Daemon


@pytest.fixture
def plugin(daemon: Daemon) -> Iterator[PluginServer]:
    folder = daemon.exec_root / "plugins"
    folder.mkdir(exist_ok=True)
    with PluginServer("loom", folder).beside() as server:
        yield server


def inspected(daemon: Daemon, name: str) -> dict[str, Any]:
    (found,) = json.loads(daemon.docker("network", "inspect", name).stdout)
    assert isinstance(found, dict)
    return found


def test_a_plugin_makes_networks_and_gives_out_their_addresses(daemon: Daemon, plugin: PluginServer) -> None:
    create = ("network", "create", "-d", "loom", "--ipam-driver", "loom", "--ipam-opt", "shelf=top", "-o", "speed=high")
    daemon.docker(*create, "--subnet", "10.231.0.0/24", "net")
    try:
        found = inspected(daemon, "net")
        assert (found["Driver"], found["Options"]) == ("loom", {"speed": "high"})
        config = {"Subnet": "10.231.0.0/24", "Gateway": "10.231.0.1"}
        assert found["IPAM"] == {"Driver": "loom", "Options": {"shelf": "top"}, "Config": [config]}
        assert "loom" in json.loads(daemon.docker("info", "-f", "{{json .Plugins.Network}}").stdout)
        run = ("run", "--rm", "--network", "net", "busybox", "sh", "-c")
        text = daemon.docker(*run, "ip -4 addr show eth0; ip route; ping -c 1 -W 5 10.231.0.1").stdout
        assert "inet 10.231.0.2/24" in text
        assert "default via 10.231.0.1 dev eth0" in text
        assert "1 packets received" in text
        plugin.behave["NetworkDriver.Join"] = {"Err": "the loom is broken"}
        failed = daemon.docker(*run, "true", check=False)
        assert (failed.returncode, "the loom is broken" in failed.stderr) == (125, True)
        plugin.behave.clear()
        daemon.docker("run", "-d", "--init", "--name", "stays", "--network", "net", "busybox", "sleep", "1000")
        daemon.kill()
        daemon.start()
        assert daemon.docker("exec", "stays", "ping", "-c", "1", "-W", "5", "10.231.0.1").stdout
        daemon.docker("rm", "-f", "stays")
    finally:
        daemon.docker("rm", "-f", "stays", check=False)
        plugin.behave.clear()
        removed = daemon.docker("network", "rm", "net", check=False)
    assert removed.returncode == 0, removed.stderr
    assert (plugin.networks, plugin.pools) == ({}, {})


def test_a_network_between_hosts_has_its_part_and_its_peers(daemon: Daemon) -> None:
    create = ("network", "create", "-d", "vxlan", "--subnet", "10.232.0.0/16", "--ip-range", "10.232.4.0/24")
    options = ("-o", "vni=4242", "-o", "port=24789", "-o", "com.docker.network.driver.mtu=1300")
    daemon.docker(*create, *options, "-o", "peers=192.0.2.2", "far")
    try:
        assert inspected(daemon, "far")["IPAM"]["Config"][0]["Gateway"] == "10.232.4.1"
        text = daemon.docker("run", "--rm", "--network", "far", "busybox", "ip", "addr", "show", "eth0").stdout
        assert "inet 10.232.4.0/16" in text
        assert "mtu 1300" in text
        changed = daemon.corten(
            "network", "update", "--peer-add", "192.0.2.3,192.0.2.4", "--peer-rm", "192.0.2.2", "far"
        )
        assert changed.stdout == "far\n"
        assert inspected(daemon, "far")["Options"]["peers"] == "192.0.2.3,192.0.2.4"
        for words, text in (
            (("--peer-rm", "192.0.2.9", "far"), "192.0.2.9 is no peer of network far"),
            (("far",), "you must provide --peer-add or --peer-rm"),
            (("--peer-add", "192.0.2.9", "bridge"), "network bridge has no peers: its driver is bridge, not vxlan"),
        ):
            refused = daemon.corten("network", "update", *words, check=False)
            assert (refused.returncode, text in refused.stderr) == (1, True), refused.stderr
    finally:
        daemon.docker("network", "rm", "far")


def test_a_network_may_have_no_addresses(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--ipam-driver", "null", "bare")
    try:
        assert inspected(daemon, "bare")["IPAM"] == {
            "Driver": "null",
            "Options": {},
            "Config": [{"Subnet": "0.0.0.0/0"}],
        }
        text = daemon.docker("run", "--rm", "--network", "bare", "busybox", "ip", "addr", "show", "eth0").stdout
        assert ",UP," in text
        assert "inet" not in text
    finally:
        daemon.docker("network", "rm", "bare")
