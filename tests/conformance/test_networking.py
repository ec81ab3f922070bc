"""The default bridge: addresses, NAT, published ports, files of the resolver; nothing reachable that is not published."""

import socket
import struct
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon


def http(url: str) -> str:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.read().decode()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture
def web(daemon: Daemon) -> Iterator[str]:
    """A web server published on a random port."""
    script = "echo hello > /var/www/index.html; exec httpd -f -p 80 -h /var/www"
    container = daemon.out("run", "-d", "-p", "80", "-p", "127.0.0.1::80", "busybox", "sh", "-c", script)
    yield container
    daemon.docker("rm", "-f", container)


def test_a_published_port_answers_on_every_address_of_the_host(daemon: Daemon, web: str) -> None:
    ports = daemon.inspect(web)["NetworkSettings"]["Ports"]["80/tcp"]
    any_port = next(port["HostPort"] for port in ports if port["HostIp"] == "0.0.0.0")
    loopback = next(port["HostPort"] for port in ports if port["HostIp"] == "127.0.0.1")
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()[0]
    assert http(f"http://127.0.0.1:{any_port}/") == "hello\n"
    assert http(f"http://{address}:{any_port}/") == "hello\n"
    assert http(f"http://127.0.0.1:{loopback}/") == "hello\n"
    assert http(f"http://[::1]:{any_port}/") == "hello\n"
    assert daemon.out("port", web, "80/tcp").splitlines()[0].startswith("0.0.0.0:")
    with pytest.raises(OSError), socket.create_connection((address, int(loopback)), timeout=2):
        pass


def test_containers_reach_each_other_and_the_published_port_by_hairpin(daemon: Daemon, web: str) -> None:
    settings = daemon.inspect(web)["NetworkSettings"]
    address, gateway = settings["IPAddress"], settings["Gateway"]
    port = settings["Ports"]["80/tcp"][0]["HostPort"]
    assert daemon.out("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}/") == "hello"
    assert daemon.out("run", "--rm", "busybox", "wget", "-qO-", f"http://{gateway}:{port}/") == "hello"
    assert daemon.out("exec", web, "wget", "-qO-", f"http://{gateway}:{port}/") == "hello"


def test_a_taken_port_is_refused_and_a_removed_container_frees_it(daemon: Daemon) -> None:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        sock.listen()
        taken = sock.getsockname()[1]
        result = daemon.docker(
            "run", "-d", "--name", "late", "-p", f"{taken}:80", "busybox", "sleep", "10", check=False
        )
    assert result.returncode == 125
    assert "address already in use" in result.stderr or "port is already allocated" in result.stderr
    daemon.docker("rm", "late", check=False)
    first = daemon.out("run", "-d", "-p", f"{taken}:80", "busybox", "sleep", "1000")
    second = daemon.docker("run", "-d", "-p", f"{taken}:80", "busybox", "sleep", "1000", check=False)
    assert "port is already allocated" in second.stderr
    daemon.docker("rm", "-f", first)
    third = daemon.out("run", "-d", "-p", f"{taken}:80/udp", "-p", f"{taken}:80", "busybox", "sleep", "1000")
    daemon.docker("rm", "-f", third, *daemon.out("ps", "-aq", "--filter", "status=created").split())


def test_files_of_the_resolver_and_names(daemon: Daemon) -> None:
    flags = ["--dns", "203.0.113.5", "--dns-search", "example.test", "--add-host", "db:203.0.113.9", "-h", "web"]
    out = daemon.out(
        "run", "--rm", *flags, "busybox", "sh", "-c", "cat /etc/resolv.conf /etc/hosts /etc/hostname; hostname -i"
    )
    assert "nameserver 203.0.113.5" in out
    assert "search example.test" in out
    assert "203.0.113.9\tdb" in out
    lines = out.splitlines()
    assert "web" in lines
    assert f"{lines[-1]}\tweb" in out


def test_two_containers_have_different_addresses_and_a_freed_one_is_used_again(daemon: Daemon) -> None:
    names = [daemon.out("run", "-d", "busybox", "sleep", "1000") for _ in range(3)]
    addresses = {daemon.inspect(name)["NetworkSettings"]["IPAddress"] for name in names}
    assert len(addresses) == 3
    daemon.docker("rm", "-f", *names)


def test_apt_installs_through_nat_and_nginx_answers_on_a_published_port(daemon: Daemon) -> None:
    daemon.docker("load", "-i", str(images.debian()), timeout=300)
    script = "apt-get update -qq && apt-get install -y -qq --no-install-recommends hello >/dev/null 2>&1; hello; stat -c %U /usr/bin/hello"
    assert daemon.out("run", "--rm", "debian", "sh", "-c", script, timeout=300).splitlines()[-2:] == [
        "Hello, world!",
        "root",
    ]
    daemon.docker("load", "-i", str(images.nginx()), timeout=300)
    server = daemon.out("run", "-d", "-p", "127.0.0.1::80", "nginx")
    port = daemon.out("port", server, "80/tcp").rsplit(":", 1)[1]
    assert "Welcome to nginx" in http(f"http://127.0.0.1:{port}/")
    daemon.docker("stop", server)
    assert daemon.inspect(server)["State"]["ExitCode"] == 0
    daemon.docker("rm", server)


def test_a_python_script_runs_as_an_ordinary_user(daemon: Daemon) -> None:
    daemon.docker("load", "-i", str(images.python()), timeout=300)
    code = "import os, sqlite3, socket; print(os.getuid(), os.getgroups(), sqlite3.connect(':memory:').execute('select 6*7').fetchone()[0])"
    assert daemon.out("run", "--rm", "-u", "1000:1000", "python:3.11", "python3", "-c", code) == "1000 [1000] 42"


def test_udp_and_ranges_are_published(daemon: Daemon) -> None:
    daemon.docker("load", "-i", str(images.python()), timeout=300)
    echo = (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 5001))\nprint('ready', flush=True)\n"
        "while True:\n    data, peer = s.recvfrom(99)\n    s.sendto(data, peer)"
    )
    container = daemon.out("run", "-d", "-p", "41000-41002:5000-5002/udp", "python:3.11", "python3", "-c", echo)
    deadline = time.monotonic() + 30
    while "ready" not in daemon.out("logs", container):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()[0]
    for host in ("127.0.0.1", address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(b"ping", (host, 41001))
            assert sock.recv(100) == b"ping"
    assert daemon.out("port", container, "5002/udp").splitlines()[0] == "0.0.0.0:41002"
    daemon.docker("rm", "-f", container)


def test_a_thousand_ports_of_one_container_are_held_and_given_back(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "-p", "20000-20999:20000-20999", "busybox", "httpd", "-f", "-p", "20500")
    assert len(daemon.inspect(container)["NetworkSettings"]["Ports"]) == 1000
    with socket.create_connection(("127.0.0.1", 20500), timeout=20):
        pass
    assert daemon.out("exec", container, "sh", "-c", "ulimit -n") == daemon.out(
        "run", "--rm", "busybox", "sh", "-c", "ulimit -n"
    )
    daemon.docker("rm", "-f", container)
    for port in (20000, 20500, 20999):
        socket.create_server(("0.0.0.0", port)).close()


def test_a_source_list_goes_through_the_api_and_stays_when_the_container_starts_again(daemon: Daemon) -> None:
    published = ("-p", "127.0.0.1:0:80/tcp,from=192.0.2.0/24", "-p", "0:81")
    container = daemon.corten("run", "-d", *published, "busybox", "sleep", "1000").stdout.strip()
    daemon.docker("restart", "-t", "0", container)
    bindings = daemon.inspect(container)["HostConfig"]["PortBindings"]
    assert bindings["80/tcp"][0]["From"] == ["192.0.2.0/24"]
    assert "From" not in bindings["81/tcp"][0]
    refused = daemon.corten("run", "-p", "0:80,from=10.0.0.1/8", "busybox", "true", check=False)
    assert refused.returncode == 125
    assert "invalid source '10.0.0.1/8' of a published port" in refused.stderr
    daemon.docker("rm", "-f", container)


def test_gateway_modes_are_options_of_a_network(daemon: Daemon) -> None:
    mode = "com.docker.network.bridge.gateway_mode_ipv4"
    wrong = daemon.docker("network", "create", "-o", f"{mode}=isolated", "open", check=False)
    assert "can only be used for an internal network" in wrong.stderr
    daemon.docker("network", "create", "-o", f"{mode}=routed", "routed")
    container = daemon.out("run", "-d", "--network", "routed", "-p", "8080:80", "busybox", "sleep", "1000")
    assert daemon.inspect(container)["NetworkSettings"]["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
    daemon.docker("rm", "-f", container)
    daemon.docker("network", "rm", "routed")


def test_a_stream_through_a_published_port_outlives_a_killed_daemon(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "-p", "127.0.0.1::80", "busybox", "nc", "-ll", "-p", "80", "-e", "cat")
    port = int(daemon.out("port", container, "80/tcp").rsplit(":", 1)[1])
    address = daemon.inspect(container)["NetworkSettings"]["IPAddress"]
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, 80), timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:

        def echoes(text: bytes) -> bool:
            stream.sendall(text)
            return stream.recv(len(text), socket.MSG_WAITALL) == text

        assert echoes(b"before")
        daemon.kill()
        assert echoes(b"without a daemon")
        daemon.start()
        assert echoes(b"after")
        sent_again = struct.unpack_from("=I", stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]
        assert sent_again == 0  # tcpi_total_retrans
    daemon.docker("rm", "-f", container)
