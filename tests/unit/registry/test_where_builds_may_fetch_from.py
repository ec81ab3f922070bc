"""The policy for what the daemon connects to on behalf of builds: judged by address, when it is connected to."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.registry import guarded_dial
from corten.registry.cancel import Cancel
from corten.registry.connections import Connections
from corten.registry.endpoint import Endpoint
from corten.registry.errors import RegistryError
from corten.registry.guarded_dial import dial, is_own
from corten.registry.inward import InwardPolicy, InwardRefused, embedded
from corten.registry.proxies import Proxies
from corten.registry.transport import Transport

DEFAULT = InwardPolicy.of()
SECOND = InwardPolicy.of(allow=["127.0.0.2/32"])  # one server of the tests' may be reached, its neighbour not


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254",
        "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:100::100:200",
        "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::ffff:0:7f00:1", "0.1.2.3",
    ],
)  # fmt: skip
def test_the_hosts_own_and_metadata_services_are_refused(address):
    with pytest.raises(InwardRefused, match="builds may not fetch"):
        DEFAULT.check(address, 80, is_own=False)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.2", "172.17.0.1", "1.1.1.1", "2606:4700::1111", "fd12::1"])
def test_other_networks_are_allowed_and_may_be_refused(address):
    DEFAULT.check(address, 80, is_own=False)
    with pytest.raises(InwardRefused):
        InwardPolicy.of(deny=["0.0.0.0/0", "::/0"]).check(address, 80, is_own=False)


def test_what_is_allowed_goes_before_what_is_refused_but_the_api_is_never_reached():
    policy = InwardPolicy.of(allow=["127.0.0.0/8"], own_ports=[2375])
    policy.check("127.0.0.1", 80, is_own=True)
    policy.check("10.0.0.1", 2375, is_own=False)
    for address in ("127.0.0.1", "10.0.0.5", "::ffff:10.0.0.5"):
        with pytest.raises(InwardRefused, match="the engine's own API"):
            policy.check(address, 2375, is_own=True)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "64:ff9b::{}"]))
def test_an_address_in_another_is_judged_as_itself(address, form):
    assert embedded(form.format(address)) == address


def test_the_kernel_knows_which_addresses_are_this_hosts():
    assert is_own(socket.AF_INET, ("127.0.0.1", 80))
    assert not is_own(socket.AF_INET, ("192.0.2.1", 80))


# -- real connections


@contextmanager
def serving(address: str, redirect: str = "") -> Iterator[tuple[int, list[str]]]:
    """A server at an address; its port, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if redirect else 200)
            if redirect:
                self.send_header("Location", redirect)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


def get(policy: InwardPolicy | None, url: str, *, transport: Transport | None = None) -> bytes:
    transport = transport or Transport(policy=policy)
    endpoint = Endpoint(host=url.split("/")[2])
    with transport.request("GET", url, endpoint=endpoint, headers={}, cancel=Cancel()) as response:
        return response.body()


def test_loopback_is_not_connected_to():
    with serving("127.0.0.1") as (port, asked):
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"):
            with pytest.raises(InwardRefused):
                get(DEFAULT, f"http://{host}:{port}/")
        assert asked == []
        assert get(None, f"http://127.0.0.1:{port}/") == b"ok"  # registries know no policy


def test_a_redirect_leads_nowhere_else():
    with serving("127.0.0.1") as (inner, asked), serving("127.0.0.2", f"http://127.0.0.1:{inner}/secret") as (port, _):
        with pytest.raises(InwardRefused):
            get(SECOND, f"http://127.0.0.2:{port}/")
        assert asked == []


def test_a_connection_that_others_left_open_is_not_used():
    with serving("127.0.0.1") as (port, asked):
        registries = Transport()
        get(None, f"http://127.0.0.1:{port}/a", transport=registries)
        with pytest.raises(InwardRefused):
            get(DEFAULT, f"http://127.0.0.1:{port}/b")
        assert asked == ["/a"]


def test_a_name_is_resolved_once_and_what_was_judged_is_connected_to(monkeypatch: pytest.MonkeyPatch):
    """DNS rebinding: each question gets another answer, the first of them an allowed one."""
    answers = [["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1"]]

    def resolved(_host: str, port: int, *_: object) -> list[object]:
        found = answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    with serving("127.0.0.1") as (inner, asked):
        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        with pytest.raises(OSError, match="refused"):  # nobody listens at the address that was judged
            dial(SECOND, "rebinding.example", inner, 5)
        with pytest.raises(InwardRefused):
            dial(SECOND, "rebinding.example", inner, 5)
        with pytest.raises(InwardRefused):
            get(SECOND, f"http://rebinding.example:{inner}/")
        assert asked == []


def test_of_several_addresses_the_allowed_one_is_taken(monkeypatch: pytest.MonkeyPatch):
    def resolved(_host: str, port: int, *_: object) -> list[object]:
        found = ("127.0.0.1", "127.0.0.2")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    with serving("127.0.0.2") as (port, asked):
        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        assert get(SECOND, f"http://two.example:{port}/") == b"ok"
        assert asked == ["/"]


def test_a_name_with_many_addresses_is_not_waited_for_longer(monkeypatch: pytest.MonkeyPatch):
    """Else whoever has a name servers for it takes a thread of the engine for as long as they like."""
    now, waits = [0.0], []

    def silent(_family: int, _kind: int, _protocol: int, _address: object, timeout_s: float) -> socket.socket:
        waits.append(timeout_s)
        now[0] += timeout_s
        raise TimeoutError("timed out")

    def resolved(_host: str, port: int, *_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", port)) for n in range(1, 251)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(guarded_dial, "_connect", silent)
    monkeypatch.setattr(guarded_dial, "monotonic", lambda: now[0])
    with pytest.raises(TimeoutError):
        dial(DEFAULT, "many.example", 80, 9.0)
    assert waits == [2.0, 2.0, 2.0, 2.0, 1.0]


def test_the_daemons_certificates_are_for_registries_alone(tmp_path: Path):
    """A Dockerfile would fetch in the engine's name, whatever the server has besides a registry."""
    folder = tmp_path / "h.example:1"
    folder.mkdir()
    for name in ("client.cert", "client.key"):
        (folder / name).write_text("not read")
    endpoint = Endpoint(host="h.example:1")
    Connections((str(tmp_path),), Proxies(), DEFAULT).pool("https", endpoint.host, endpoint)
    with pytest.raises(RegistryError, match=r"client\.cert"):
        Connections((str(tmp_path),), Proxies()).pool("https", endpoint.host, endpoint)


def test_a_proxy_is_not_asked_for_a_refused_address():
    with serving("127.0.0.1") as (port, asked):
        transport = Transport(policy=DEFAULT, proxies=Proxies(http=f"http://127.0.0.1:{port}"))
        with pytest.raises(InwardRefused):
            get(DEFAULT, "http://169.254.169.254/latest/meta-data/", transport=transport)
        assert asked == []
        assert get(DEFAULT, "http://web.example/x", transport=transport) == b"ok"
        assert asked == ["http://web.example/x"]
