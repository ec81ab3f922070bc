"""`docker network` with the real client: what is refused and how, configuration networks, addresses, macvlan networks.

Texts and exit codes are those of Docker 26, command by command.
"""

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.daemon import Daemon

REFUSED = {
    'create ""': "invalid name:",
    "create taken": "network with name taken already exists",
    "create bridge": "operation is not permitted on predefined bridge network",
    "create -d host x": 'only one instance of "host" network is allowed',
    "create -d null x": 'only one instance of "null" network is allowed',
    "create -d nope x": 'plugin "nope" not found',
    "create --ipam-driver nope x": 'plugin "nope" not found',
    "create -d overlay x": "This node is not a swarm manager.",
    "create --scope swarm x": "cannot create a swarm scoped network when swarm is not active",
    "create --ingress x": "Ingress network can only be global scope network",
    "create --subnet 10.201.0.0/16 x": "Pool overlaps with other one on this address space",
    "create --subnet 10.202.0.0/33 x": "invalid network config:\ninvalid subnet 10.202.0.0/33: invalid CIDR block notation",
    "create --subnet 10.202.0.5/24 x": (
        "invalid network config:\ninvalid subnet 10.202.0.5/24: it should be 10.202.0.0/24"
    ),
    "create --subnet 10.202.0.0/24 --aux-address a=10.202.0.9 --aux-address b=10.202.0.9 x": (
        "failed to allocate secondary ip address (b:10.202.0.9): Address already in use"
    ),
    "create --subnet 10.202.0.0/24 --subnet 10.203.0.0/24 x": "bridge driver doesn't support multiple subnets",
    "create -o com.docker.network.driver.mtu=abc x": (
        'failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing "abc": invalid syntax)'
    ),
    "create -o com.docker.network.driver.mtu=-4 x": "invalid MTU number: -4",
    "create -o com.docker.network.bridge.enable_icc=maybe x": (
        "failed to parse com.docker.network.bridge.enable_icc value: maybe "
        '(strconv.ParseBool: parsing "maybe": invalid syntax)'
    ),
    "create --config-only --internal x": "configuration network can only contain network specific fields.",
    "create --config-from nope x": 'configuration network "nope" does not exist',
    "create --config-from taken x": 'configuration network "taken" does not exist',
    "create --config-from nope --config-only x": (
        "a configuration network cannot depend on another configuration network"
    ),
    "create --config-from nope --ipv6 x": "user specified configurations are not supported",
    "create --config-from nope -o a=b x": "network driver options are not supported",
    "create -d macvlan -o parent=lo x": "loopback interface is not a valid macvlan parent link",
    "create -d ipvlan -o parent=lo x": "loopback interface is not a valid ipvlan parent link",
    "create -d macvlan -o parent=nolink x": "invalid subinterface vlan name nolink, example formatting is eth0.10",
    "create -d macvlan -o parent=nolink.5 x": "-o parent interface was not found on the host: nolink",
    "create -d macvlan -o parent=lo.abc x": "unable to parse a valid vlan id from: abc (ex. eth0.10 for vlan 10)",
    "create -d macvlan -o parent=lo.4095 x": "vlan id must be between 1-4094, received: 4095",
    "create -d macvlan -o macvlan_mode=odd x": (
        "requested macvlan mode 'odd' is not valid, 'bridge' mode is the macvlan driver default"
    ),
    "create -d ipvlan -o ipvlan_mode=odd x": (
        "requested ipvlan mode 'odd' is not valid, 'l2' mode is the ipvlan driver default"
    ),
    "create -d ipvlan -o ipvlan_flag=odd x": (
        "requested ipvlan flag 'odd' is not valid, 'bridge' is the ipvlan driver default"
    ),
    "ls --filter type=odd": "invalid filter: 'type'='odd'",
    "ls --filter odd=x": "invalid filter 'odd'",
    "ls --filter dangling=odd": ('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'),
    "inspect nope": "network nope not found",
    "rm nope": "network nope not found",
    "rm bridge": "bridge is a pre-defined network and cannot be removed",
    "prune -f --filter odd=x": "invalid filter 'odd'",
    "prune -f --filter until=odd": 'failed to parse value as time or duration: "odd"',
    "connect bridge nocontainer": "No such container: nocontainer",
    "connect nope nocontainer": "No such container: nocontainer",
    "connect nope member": "network nope not found",
    "connect taken member": "endpoint with name member already exists in network taken",
    "connect host member": "container cannot be disconnected from host network or connected to host network",
    "connect --ip abc bridge member": "invalid endpoint settings:\n* invalid IPv4 address: abc\n* user specified IP",
    "connect --alias x bridge member": (
        "invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks"
    ),
    "disconnect bridge nocontainer": "No such container: nocontainer",
    "disconnect nope nocontainer": "No such container: nocontainer",
    "disconnect nope member": "network nope not found",
    "disconnect bridge member": "is not connected to network bridge",
    "disconnect bridge created": "is not connected to the network bridge",
    "disconnect -f bridge nocontainer": "endpoint nocontainer not found",
    "disconnect -f nope nocontainer": "network nope not found",
    "disconnect -f nope member": "is not connected to the network nope",
}


@pytest.fixture(scope="module")
def taken(daemon: Daemon) -> Iterator[str]:
    """A network with a container that runs in it, and one that was only made."""
    network = daemon.out("network", "create", "--subnet", "10.201.0.0/24", "taken")
    daemon.docker("run", "-d", "--name", "member", "--network", "taken", "busybox", "sleep", "1000")
    daemon.docker("create", "--name", "created", "--network", "taken", "busybox")
    daemon.docker("network", "connect", "taken", "created")  # again, with other settings: as good as the first time
    yield network
    daemon.docker("rm", "-f", "member", "created")


@pytest.fixture
def parent(daemon: Daemon) -> Iterator[str]:
    """A link that macvlan interfaces can stand on: the bridge of a network of this daemon's own, with a carrier."""
    name = "ctp" + Path(daemon.root).name[-8:]
    daemon.docker("network", "create", "-o", f"com.docker.network.bridge.name={name}", "lower")
    container = daemon.out("run", "-d", "--init", "--network", "lower", "busybox", "sleep", "1000")
    yield name
    daemon.docker("rm", "-f", container)
    daemon.docker("network", "rm", "lower")


def test_what_docker_refuses_is_refused_in_its_words(daemon: Daemon, taken: str) -> None:
    before = daemon.out("network", "ls", "-q")
    wrong = {}
    for command, text in REFUSED.items():
        result = daemon.docker("network", *shlex.split(command), check=False)
        if result.returncode != 1 or text not in result.stderr:
            wrong[command] = (result.returncode, result.stdout + result.stderr)
    assert wrong == {}
    assert daemon.out("network", "ls", "-q") == before


def test_a_configuration_network_lends_what_it_has_and_stays_while_it_is_used(daemon: Daemon) -> None:
    flags = ["--subnet", "10.209.0.0/24", "-o", "com.docker.network.driver.mtu=1300", "--label", "k=v"]
    daemon.docker("network", "create", "--config-only", *flags, "config")
    daemon.docker("network", "create", "--config-from", "config", "user")
    found = json.loads(daemon.out("network", "inspect", "user"))[0]
    assert (found["Driver"], found["ConfigFrom"], found["Labels"]) == ("bridge", {"Network": "config"}, {"k": "v"})
    assert found["IPAM"]["Config"][0]["Subnet"] == "10.209.0.0/24"
    shown = json.loads(daemon.out("network", "inspect", "config"))[0]
    assert (shown["Driver"], shown["ConfigOnly"], shown["Scope"]) == ("null", True, "local")
    script = "cat /sys/class/net/eth0/mtu; hostname -i"
    assert daemon.out("run", "--rm", "--network", "user", "busybox", "sh", "-c", script) == "1300\n10.209.0.2"
    refused = daemon.docker("network", "rm", "config", check=False).stderr
    assert 'error while removing network: configuration network "config" is in use' in refused
    refused = daemon.docker("run", "--rm", "--network", "config", "busybox", "true", check=False)
    assert "configuration-only network" in refused.stderr
    assert "config" not in daemon.out("network", "prune", "-f").split()
    assert daemon.out("network", "rm", "config") == "config"


def test_more_networks_than_dockers_pools_have(daemon: Daemon) -> None:
    names = [f"many{number}" for number in range(34)]
    for name in names:
        daemon.docker("network", "create", name)
    shown = daemon.out("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", *names).split()
    assert len(set(shown)) == 34
    assert shown[-1].startswith("10.")
    assert shown[-1].endswith("/24")
    result = daemon.docker("network", "rm", "nope", *names, check=False)
    assert (result.returncode, result.stdout.split()) == (1, names)
    assert "network nope not found" in result.stderr


def test_names_sysctls_and_addresses_of_an_interface_are_those_asked_for(daemon: Daemon) -> None:
    subnets = ["--ipv6", "--subnet", "10.212.0.0/24", "--subnet", "fd77:1::/64", "--ip-range", "10.212.0.128/25"]
    daemon.docker("network", "create", *subnets, "--aux-address", "router=10.212.0.128", "asked")
    options = (
        "name=asked,ip=10.212.0.77,ip6=fd77:1::77,mac-address=02:42:00:00:00:77,"
        "driver-opt=com.docker.network.endpoint.ifname=lan0,"
        "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    )
    script = (
        "ip -o addr show lan0; cat /sys/class/net/lan0/address /proc/sys/net/ipv4/conf/lan0/log_martians; "
        "ip route; test ! -e /sys/class/net/eth0"
    )
    out = daemon.out("run", "--rm", "--network", options, "busybox", "sh", "-c", script)
    for part in ("10.212.0.77/24", "fd77:1::77/64", "02:42:00:00:00:77\n1\n", "default via 10.212.0.1 dev lan0"):
        assert part in out
    assert daemon.out("run", "--rm", "--network", "asked", "busybox", "hostname", "-i").split()[0] == "10.212.0.129"
    for hostile in ("net.ipv4.conf.IFNAME.x/../../../../kernel/core_pattern=x", "kernel.core_pattern=x"):
        refused = daemon.docker(
            "create", "--network", f"name=asked,driver-opt=com.docker.network.endpoint.sysctls={hostile}", "busybox",
            check=False,
        )  # fmt: skip
        assert "invalid endpoint sysctl" in refused.stderr
    daemon.docker("network", "rm", "asked")


def test_a_macvlan_network_with_the_docker_client(daemon: Daemon, parent: str) -> None:
    flags = ["-d", "macvlan", "-o", f"parent={parent}", "--subnet", "10.213.0.0/24"]
    daemon.docker("network", "create", *flags, "mv")
    refused = daemon.docker("network", "create", *flags[:4], "-o", "macvlan_mode=passthru", "mv2", check=False).stderr
    assert "cannot use mode passthru, macvlan network" in refused
    refused = daemon.docker("network", "create", "-d", "ipvlan", *flags[2:4], "mv2", check=False).stderr
    assert f"is already using parent interface {parent}" in refused
    script = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
    web = daemon.out("run", "-d", "--network", "mv", "--ip", "10.213.0.9", "busybox", "sh", "-c", script)
    ask = ["run", "--rm", "--network", "mv", "busybox", "wget", "-qO-", "http://10.213.0.9/"]
    assert eventually(daemon, ask) == "hello"
    assert "default via 10.213.0.1 dev eth0" in daemon.out("exec", web, "ip", "route")

    daemon.docker("restart", "-t", "0", web)  # address and MAC are busy until the old namespace is gone
    assert eventually(daemon, ask) == "hello"
    daemon.kill()
    daemon.start()
    assert eventually(daemon, ask) == "hello"
    settings = daemon.inspect(web)["NetworkSettings"]["Networks"]["mv"]
    assert (settings["IPAddress"], settings["Gateway"]) == ("10.213.0.9", "10.213.0.1")
    assert "has active endpoints" in daemon.docker("network", "rm", "mv", check=False).stderr
    daemon.docker("network", "disconnect", "mv", web)
    assert daemon.out("exec", web, "ls", "/sys/class/net").split() == ["lo"]
    daemon.docker("rm", "-f", web)
    daemon.docker("network", "rm", "mv")
    assert parent in links()


def eventually(daemon: Daemon, arguments: list[str]) -> str:
    """What the command prints once it succeeds: the server inside may not listen yet."""
    deadline = time.monotonic() + 20
    while True:
        result = daemon.docker(*arguments, check=False)
        if result.returncode == 0:
            return result.stdout.strip()
        if time.monotonic() > deadline:
            raise AssertionError(result.stderr + daemon.log_text())
        time.sleep(0.1)


def links() -> str:
    return subprocess.run(["ls", "/sys/class/net"], capture_output=True, text=True, check=True).stdout
