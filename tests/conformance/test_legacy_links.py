"""`--link` on the default bridge, as Docker has it: environment variables, names, what is refused."""

from collections.abc import Iterator

import pytest
from tests.lab.daemon import Daemon

EXPOSED = ["--expose", "80", "--expose", "53/udp", "--expose", "53", "--expose", "6000-6002"]


@pytest.fixture(scope="module")
def database(daemon: Daemon) -> Iterator[str]:
    """The address of a container to link to."""
    daemon.docker("network", "create", "linked")
    daemon.docker("run", "-d", "--name", "apart", "--network", "linked", "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--init", "--name", "db", *EXPOSED, "-e", "MODE=a b", "busybox", "sleep", "1000")
    yield daemon.inspect("db")["NetworkSettings"]["IPAddress"]
    daemon.docker("rm", "-f", "db", "apart")
    daemon.docker("network", "rm", "linked")


def _port(number: int, protocol: str, address: str) -> list[str]:
    key = f"MY_DB_PORT_{number}_{protocol.upper()}"
    return [
        f"{key}={protocol}://{address}:{number}",
        f"{key}_ADDR={address}",
        f"{key}_PORT={number}",
        f"{key}_PROTO={protocol}",
    ]


def test_a_link_brings_the_variables_that_docker_sets(daemon: Daemon, database: str) -> None:
    flags = ["--name", "web", "--link", "db:my-db", "-e", "MY_DB_NAME=own"]
    daemon.docker("run", "-d", *flags, "busybox", "sleep", "1000")
    environment = daemon.out("exec", "web", "cat", "/proc/1/environ").strip("\0").split("\0")
    assert environment[2:-1] == [
        f"MY_DB_PORT=tcp://{database}:53",
        f"MY_DB_PORT_6000_TCP_START=tcp://{database}:6000",
        "MY_DB_PORT_6000_TCP_PORT_START=6000",
        f"MY_DB_PORT_6000_TCP_END=tcp://{database}:6002",
        "MY_DB_PORT_6000_TCP_PORT_END=6002",
        *_port(53, "tcp", database),
        *_port(53, "udp", database),
        *_port(80, "tcp", database),
        *(text for number in (6000, 6001, 6002) for text in _port(number, "tcp", database)),
        "MY_DB_NAME=own",
        "MY_DB_ENV_MODE=a b",
    ]
    assert daemon.out("exec", "web", "env").splitlines() == environment
    assert f"{database}\tmy-db " in daemon.out("exec", "web", "cat", "/etc/hosts")
    assert daemon.inspect("web")["HostConfig"]["Links"] == ["/db:/web/my-db"]
    daemon.docker("stop", "-t", "0", "web", "db")
    refused = daemon.docker("start", "web", check=False).stderr
    assert "Cannot link to a non running container: /db AS /web/my-db" in refused
    daemon.docker("start", "db", "web")
    assert "MY_DB_PORT=tcp://" in daemon.out("exec", "web", "env")
    daemon.docker("rm", "-f", "web")


REFUSED = {
    "--link nope:db": "could not get container for nope: No such container: nope",
    "--link apart:db": "Cannot link to /apart, as it does not belong to the default network",
    "--link db:db --network host": "conflicting options: host type networking can't be used with links.",
    "--link db:db --network container:apart": "conflicting options: container type network can't be used with links.",
}


@pytest.mark.parametrize(("flags", "text"), REFUSED.items())
def test_links_that_cannot_be_are_refused_in_dockers_words(
    daemon: Daemon, database: str, flags: str, text: str
) -> None:
    result = daemon.docker("run", "--rm", *flags.split(), "busybox", "env", check=False)
    assert (result.returncode, text in result.stderr) == (125, True), result.stderr


def test_links_in_networks_with_names_bring_no_variables(daemon: Daemon, database: str) -> None:
    flags = ["--network", "linked", "--link", "apart:db"]
    assert "DB_" not in daemon.out("run", "--rm", *flags, "busybox", "env")
    assert daemon.out("run", "--rm", *flags, "busybox", "nslookup", "db").count("Address") >= 2
