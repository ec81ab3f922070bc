"""Egress lists with the real docker CLI and Corten's own: a daemon in a network namespace of its own, and an outside with
public addresses, web servers and the host's name server in another."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.network.egress_world import LAN, METADATA, OTHER, WEB, WEB6
from tests.lab import images
from tests.lab.daemon import REPOSITORY, Daemon, running_daemon

ZONE = {
    "web.example/1": (30, [WEB]),
    "web.example/28": (30, [WEB6]),
    "a.debian.example/1": (30, [OTHER]),
    "rebound.example/1": (30, [METADATA, "127.0.0.1", "172.17.0.1", WEB]),
}


def namespace(stack: ExitStack) -> int:
    """A process that keeps a network namespace while the block runs; its pid."""
    holder = stack.enter_context(
        subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    stack.callback(holder.kill)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(b"ready\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == b"ready\n"  # cat runs in the namespace by now
    return holder.pid


def inside(pid: int, *command: str) -> list[str]:
    return ["nsenter", "-t", str(pid), "--net", *command]


@pytest.fixture(scope="module")
def limited() -> Iterator[Daemon]:
    """The daemon; its host's name server and the web are outside."""
    with ExitStack() as stack:
        host, outside = namespace(stack), namespace(stack)
        plug = f"""ip link set lo up && ip link add lan0 type veth peer name eth0 netns {outside} && ip link set lan0 up
            ip addr add 203.0.113.1/24 dev lan0 && ip -6 addr add 2001:db8::1/64 dev lan0 nodad
            nsenter -t {outside} --net sh -c 'ip link set lo up; ip link set eth0 up; ip addr add {LAN}/24 dev eth0
                ip route add default via 203.0.113.1'
            for to in {WEB} {OTHER} {METADATA}; do ip route add $to via {LAN}; done"""
        subprocess.run(inside(host, "sh", "-c", plug), check=True)
        server = stack.enter_context(
            subprocess.Popen(
                inside(outside, sys.executable, "-m", "tests.kernel.network.egress_world", json.dumps(ZONE)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"},
            )
        )
        stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        engine = Daemon("--dns", LAN)
        engine.wrapper = tuple(inside(host))
        with running_daemon(engine=engine):
            engine.docker("load", "-i", str(images.busybox()))
            yield engine


@pytest.fixture(autouse=True)
def emptied(limited: Daemon) -> Iterator[None]:
    """Containers and networks of a test go with it."""
    yield
    if names := limited.out("ps", "-aq").split():
        limited.docker("rm", "-f", *names)
    limited.docker("network", "prune", "-f")


def get(daemon: Daemon, container: str, host: str, port: int = 80) -> bool:
    """Whether a container gets a page from outside."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"
    return "hello from outside" in daemon.docker("exec", container, "sh", "-c", ask, check=False).stdout


def test_a_list_of_own_cli_is_kept_shown_and_told(limited: Daemon) -> None:
    start = ("run", "-d", "--rm", "--name", "box", "--label", "team=red", "busybox", "sleep", "1000")
    limited.corten(*start[:3], "--egress", "web.example:80,*.debian.example", "--egress", f"{LAN}:443", *start[3:])
    assert limited.inspect("box")["HostConfig"]["Egress"] == ["web.example:80", "*.debian.example", f"{LAN}:443"]
    assert get(limited, "box", "web.example")
    assert get(limited, "box", "a.debian.example")
    assert get(limited, "box", LAN, 443)
    assert not get(limited, "box", "web.example", 443)
    for host in (LAN, "rebound.example", METADATA):
        assert not get(limited, "box", host), host
    deadline = time.monotonic() + 20
    while {"rebound.example", METADATA, LAN, WEB} - {event["destination"] for event in denials(limited)}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for event in denials(limited):
        assert (event["name"], event["team"], event["image"]) == ("box", "red", "busybox")


def denials(daemon: Daemon) -> list[dict[str, str]]:
    """What was told of the container `box` so far."""
    only = ("--filter", "event=egress-denied", "--filter", "container=box")
    told = daemon.out("events", "--since", "0", "--until", "0s", *only, "--format", "{{json .Actor.Attributes}}")
    return [json.loads(line) for line in told.splitlines()]


def test_it_holds_while_the_daemon_is_dead_and_after(limited: Daemon) -> None:
    limited.docker("run", "-d", "--name", "box", "--label", "corten.egress=web.example", "busybox", "sleep", "1000")
    limited.docker("run", "-d", "--name", "mate", "--network", "container:box", "busybox", "sleep", "1000")
    assert get(limited, "mate", "web.example")
    box = limited.inspect("box")["State"]["Pid"]
    limited.kill()
    connect = ["nsenter", "-t", str(box), "--net", "--mount", "/bin/nc", "-w", "3"]
    reached = [
        subprocess.run([*connect, host, "80"], stdin=subprocess.DEVNULL, check=False).returncode == 0
        for host in (WEB, OTHER)
    ]
    assert reached == [True, False]
    limited.start()
    for container in ("box", "mate"):
        assert get(limited, container, "web.example")
        assert not get(limited, container, OTHER)
        assert not get(limited, container, "a.debian.example")


def test_networks_have_lists_and_wrong_ones_are_refused(limited: Daemon) -> None:
    limited.docker("network", "create", "-o", "corten.egress=rebound.example", "net")
    limited.corten("network", "create", "--egress", "none", "shut")
    assert limited.inspect("shut")["Options"] == {"corten.egress": "none"}
    limited.docker("run", "-d", "--name", "box", "--network", "net", "busybox", "sleep", "1000")
    limited.docker("run", "-d", "--name", "none", "--network", "shut", "busybox", "sleep", "1000")
    looked_up = limited.docker("exec", "box", "nslookup", "-type=a", "rebound.example", check=False).stdout
    answers = [line for line in looked_up.partition("\n\n")[2].splitlines() if line.startswith("Address")]
    assert answers == [f"Address: {WEB}"]
    assert get(limited, "box", WEB)
    assert not get(limited, "none", WEB)
    limited.docker("network", "connect", "shut", "box")
    assert get(limited, "box", WEB)
    refused = limited.corten("run", "--rm", "--egress", "a/b", "busybox", check=False)
    assert "invalid egress rule 'a/b'" in refused.stderr
    for flags in (("--network", "host"), ("--network", "container:box")):
        wrong = limited.docker("run", "--rm", "--label", "corten.egress=none", *flags, "busybox", check=False)
        assert "egress list" in wrong.stderr


def test_steps_of_a_build_reach_what_its_list_says(limited: Daemon, tmp_path: Path) -> None:
    def build(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "Dockerfile").write_text("FROM busybox\n" + text)
        return limited.corten("build", "-t", "built", *options, str(tmp_path), check=False)

    page = "RUN printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {} 80 > /page; grep -q outside /page\n"
    assert build(page.format("web.example"), "--egress", "none").returncode == 1
    assert build(page.format("web.example"), "--egress", "other.example,198.51.100.0/24:443").returncode == 1
    made = build(page.format("web.example"), "--egress", "web.example:80")
    assert made.returncode == 0, made.stdout + made.stderr
    assert build(page.format("web.example"), "--egress", "none").returncode == 1  # no hit of another list's step
    assert build("RUN --network=none true\n", "--egress", "none").returncode == 0
    assert build(page.format(LAN), "--egress", "web.example").returncode == 1
    fetched = build(f"ADD http://{WEB}/page /\n", "--egress", "web.example")
    assert "line 2: the build has an egress list" in fetched.stdout + fetched.stderr
    own = "# corten:egress={}\n" + page
    assert build(own.format("web.example:80", WEB)).returncode == 1  # its name was not asked for
    assert build(own.format("web.example:80", "web.example")).returncode == 0
    assert build(own.format("web.example:80", "web.example") + own.format("none", "web.example")).returncode == 1
    assert (
        build(own.format("none", "web.example") + page.format("web.example"), "--egress", "web.example").returncode == 1
    )
    both = own.format("web.example,198.51.100.0/24", "web.example") + page.format(OTHER)
    assert build(both).returncode == 0  # the second has no list
    assert build(both, "--egress", "web.example").returncode == 1
    assert build(own.format("*", "web.example"), "--egress", "other.example").returncode == 1  # never widens
    wrong = build("RUN true\n", "--egress", "web.example:0")
    assert (wrong.returncode, "invalid egress" in wrong.stderr) == (1, True), wrong.stderr
    limited.docker("rmi", "-f", "built")
