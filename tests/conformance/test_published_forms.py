"""`docker run -p` in all its forms, with the real client: what inspect, `port` and `ps` show, what is refused and how.

Each form and text was compared with Docker 26's, side by side. Not as there: a container port 0 is refused (Docker
publishes it and nothing can answer), and Docker's order of several host ports of one container port is random.
"""

import random
import re
import shlex
import socket
from collections.abc import Iterator

import pytest
from tests.lab.daemon import Daemon

BLOCK = 8  # host ports in a row that a form may use: {0} to {7}
# form -> what `docker ps` shows; E is a port of the kernel's range
SHOWN = {
    "-p 80": "0.0.0.0:E->80/tcp, [::]:E->80/tcp",
    "-p {0}:80": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "-p 0:80": "0.0.0.0:E->80/tcp, [::]:E->80/tcp",
    "-p :80": "0.0.0.0:E->80/tcp, [::]:E->80/tcp",
    "-p {0}:80/": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "-p {0}:80/TCP": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "-p 127.0.0.1:{0}:80": "127.0.0.1:{0}->80/tcp",
    "-p 127.0.0.1::80": "127.0.0.1:E->80/tcp",
    "-p 127.0.0.1:0:80": "127.0.0.1:E->80/tcp",
    "-p 0.0.0.0:{0}:80": "0.0.0.0:{0}->80/tcp",
    "-p [::1]:{0}:80": "[::1]:{0}->80/tcp",
    "-p ::1:{0}:80": "[::1]:{0}->80/tcp",
    "-p [::1]::80": "[::1]:E->80/tcp",
    "-p [::]:{0}:80": "[::]:{0}->80/tcp",
    "-p {0}:80/udp": "0.0.0.0:{0}->80/udp, [::]:{0}->80/udp",
    "-p {0}:80/sctp": "0.0.0.0:{0}->80/sctp, [::]:{0}->80/sctp",
    "-p {0}:80/udp -p {0}:80": ("0.0.0.0:{0}->80/tcp, 0.0.0.0:{0}->80/udp, [::]:{0}->80/tcp, [::]:{0}->80/udp"),
    "-p {0}-{3}:{0}-{3}": "0.0.0.0:{0}-{3}->{0}-{3}/tcp, [::]:{0}-{3}->{0}-{3}/tcp",
    "-p 127.0.0.1:{0}-{3}:{0}-{3}/udp": "127.0.0.1:{0}-{3}->{0}-{3}/udp",
    "-p {0}-{3}:80": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "-p 127.0.0.1:{0}-{3}:80": "127.0.0.1:{0}->80/tcp",
    "-p {0}-{1}:80 -p {0}-{1}:81": ("0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp, 0.0.0.0:{1}->81/tcp, [::]:{1}->81/tcp"),
    "-p 80-81": "0.0.0.0:E->80/tcp, [::]:E->80/tcp, 0.0.0.0:E->81/tcp, [::]:E->81/tcp",
    "-p {0}:80 -p {1}:80": ("0.0.0.0:{0}->80/tcp, 0.0.0.0:{1}->80/tcp, [::]:{0}->80/tcp, [::]:{1}->80/tcp"),
    "-p 127.0.0.1:{0}:80 -p [::1]:{0}:80": "127.0.0.1:{0}->80/tcp, [::1]:{0}->80/tcp",
    "-p published={0},target=80": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "-p published={0},target=80,protocol=udp,mode=host": "0.0.0.0:{0}->80/udp, [::]:{0}->80/udp",
    "-p published={0}-{2},target=80": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "-p target=80": "0.0.0.0:E->80/tcp, [::]:E->80/tcp",
    "-P": "",
    "-P --expose 90": "0.0.0.0:E->90/tcp, [::]:E->90/tcp",
    "-P --expose 90-91/udp": "0.0.0.0:E->90/udp, [::]:E->90/udp, 0.0.0.0:E->91/udp, [::]:E->91/udp",
    "-P --expose 90 -p {0}:80": "0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp, 0.0.0.0:E->90/tcp, [::]:E->90/tcp",
    "--expose 90-92/udp": "90-92/udp",
    "--expose 80/icmp": "80/icmp",
    "--expose 90 -p {0}:80": "90/tcp, 0.0.0.0:{0}->80/tcp, [::]:{0}->80/tcp",
    "--network none -p {0}:80": "",
    "--network host -p {0}:80": "",
}
ALLOCATED = "Bind for 0.0.0.0:{0} failed: port is already allocated"
REFUSED = {
    "-p {0}:80 -p {0}:80": ALLOCATED,
    "-p {0}:80 -p {0}:81": ALLOCATED,
    "-p {0}:80 -p 127.0.0.1:{0}:80": "Bind for 127.0.0.1:{0} failed: port is already allocated",
    "-p {7}:80": "Bind for 0.0.0.0:{7} failed: port is already allocated",
    "-p 127.0.0.1:{7}:80": "Bind for 127.0.0.1:{7} failed: port is already allocated",
    "-p {7}-{7}:80": "Bind for 0.0.0.0:{7} failed: port is already allocated",
    "-p {0}-{1}:80 -p {0}:81 -p {1}:82": "failed: port is already allocated",
    "-p 192.0.2.77:{0}:80": "cannot assign requested address",
    "-p [2001:db8::77]:{0}:80": "cannot assign requested address",
    "-p {0}:0": 'invalid port specification: "0/tcp"',
    "--network container:holder -p {0}:80": (
        "conflicting options: port publishing and the container type network mode"
    ),
    "--network container:holder -P": "conflicting options: port publishing and the container type network mode",
    "--network container:holder --expose 80": (
        "conflicting options: port exposing and the container type network mode"
    ),
    "-p {0}-{1}:80-82": "invalid ranges specified for container and host Ports: 80-82 and {0}-{1}",
    "-p {1}-{0}:80": "invalid hostPort: {1}-{0}",
    "-p 65536:80": "invalid hostPort: 65536",
    "-p 80:65536": "invalid containerPort: 65536",
    "-p {0}:80/icmp": "invalid proto: icmp",
    "-p 1.2.3:{0}:80": "invalid IP address: 1.2.3",
    "-p localhost:{0}:80": "invalid IP address: localhost",
    "-p {0}:": "no port specified: {0}:<empty>",
    "--expose 80-70": "invalid range format for --expose: 80-70",
}  # fmt: skip


def _is_free(port: int) -> bool:
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe:
                try:
                    probe.bind((any_address, port))
                except OSError:
                    return False
    return True


@pytest.fixture(scope="module")
def ports() -> list[str]:
    """Host ports in a row that nobody has, outside the range that the kernel chooses from."""
    while True:
        first = random.randrange(10_000, 30_000)
        if all(_is_free(first + offset) for offset in range(BLOCK)):
            return [str(first + offset) for offset in range(BLOCK)]


@pytest.fixture(scope="module")
def holder(daemon: Daemon, ports: list[str]) -> Iterator[str]:
    """A container that has the last of them."""
    yield daemon.out("run", "-d", "--name", "holder", "-p", f"{ports[7]}:80", "busybox", "sleep", "1000")
    daemon.docker("rm", "-f", "holder")


def _with_random(text: str) -> str:
    return re.sub(r":(3[2-9]|[45]\d|60)\d{3}->", ":E->", text)


def test_what_each_form_publishes(daemon: Daemon, ports: list[str]) -> None:
    wrong = {}
    for form, expected in SHOWN.items():
        daemon.docker("run", "-d", "--name", "form", *shlex.split(form.format(*ports)), "busybox", "sleep", "1000")
        shown = daemon.out("ps", "--filter", "name=^form$", "--format", "{{.Ports}}")
        if _with_random(shown) != expected.format(*ports):
            wrong[form] = shown
        daemon.docker("rm", "-f", "form")
    assert wrong == {}


def test_what_is_refused_and_leaves_no_port_behind(daemon: Daemon, ports: list[str], holder: str) -> None:
    wrong = {}
    for form, expected in REFUSED.items():
        flags = shlex.split(form.format(*ports))
        result = daemon.docker("run", "-d", "--name", "form", *flags, "busybox", "sleep", "1000", check=False)
        if result.returncode != 125 or expected.format(*ports) not in result.stderr:
            wrong[form] = result.stderr
        daemon.docker("rm", "-f", "form", check=False)
    assert wrong == {}
    assert [port for port in ports[:7] if not _is_free(int(port))] == []
    assert daemon.inspect(holder)["State"]["Running"]


def test_a_port_of_another_process_is_told_and_the_next_of_a_range_is_taken(daemon: Daemon, ports: list[str]) -> None:
    run = ["run", "-d", "--name", "form"]
    with socket.create_server(("0.0.0.0", int(ports[0]))):
        result = daemon.docker(*run, "-p", f"{ports[0]}:80", "busybox", "sleep", "1000", check=False)
        assert result.returncode == 125
        assert "driver failed programming external connectivity on endpoint form (" in result.stderr
        assert "address already in use" in result.stderr
        daemon.docker("rm", "form")
        daemon.docker(*run, "-p", f"{ports[0]}-{ports[1]}:80", "busybox", "sleep", "1000")
        assert daemon.out("port", "form", "80").splitlines() == [f"0.0.0.0:{ports[1]}", f"[::]:{ports[1]}"]
        daemon.docker("rm", "-f", "form")


def test_inspect_and_port_tell_what_was_asked_and_what_is(daemon: Daemon, ports: list[str]) -> None:
    flags = ["-p", f"127.0.0.1:{ports[0]}:80", "-p", f"{ports[1]}-{ports[2]}:53/udp", "--expose", "90"]
    daemon.docker("run", "-d", "--name", "form", *flags, "busybox", "sleep", "1000")
    found = daemon.inspect("form")
    assert found["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ports[0]}],
        "53/udp": [{"HostIp": "", "HostPort": f"{ports[1]}-{ports[2]}"}],
    }
    both = [{"HostIp": "0.0.0.0", "HostPort": ports[1]}, {"HostIp": "::", "HostPort": ports[1]}]
    assert found["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ports[0]}],
        "53/udp": both,
        "90/tcp": None,
    }
    assert found["Config"]["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}, "90/tcp": {}}
    assert daemon.out("port", "form").splitlines() == [
        f"53/udp -> 0.0.0.0:{ports[1]}",
        f"53/udp -> [::]:{ports[1]}",
        f"80/tcp -> 127.0.0.1:{ports[0]}",
    ]
    assert daemon.out("port", "form", "80") == f"127.0.0.1:{ports[0]}"
    for port in ("90", "53"):
        refused = daemon.docker("port", "form", port, check=False)
        assert (refused.returncode, f"no public port '{port}" in refused.stderr.lower()) == (1, True)
    daemon.docker("stop", "-t", "0", "form")
    assert daemon.inspect("form")["NetworkSettings"]["Ports"] == {}
    assert daemon.out("port", "form") == ""
    daemon.docker("rm", "form")


def test_published_ports_in_the_hosts_network_are_left_out_with_a_warning(daemon: Daemon, ports: list[str]) -> None:
    flags = ["--network", "host", "-p", f"{ports[0]}:80"]
    result = daemon.docker("run", "--rm", *flags, "busybox", "true")
    assert result.stderr == "WARNING: Published ports are discarded when using host network mode\n"
    own = daemon.corten("run", "--rm", *flags, "busybox", "true")
    assert own.stderr == result.stderr
