"""The ways through proxies, how long registries ask to be left alone, and searches."""

import base64
import socket
import socketserver
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.registry.auth import retry_after_s
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.endpoints import RegistryConfig, endpoints
from corten.registry.errors import RegistryError, RegistryUnreachable
from corten.registry.fetch import get_manifest
from corten.registry.proxies import Proxies
from corten.registry.search import search
from corten.registry.timings import Timings
from corten.testing.registry import FakeRegistry, Fault

from .conftest import tls_server

FAST = Timings(connect_s=5, stall_s=5, retry_base_s=0.01, retry_cap_s=0.02, attempts=3)


@pytest.fixture
def registry():
    with FakeRegistry() as fake:
        yield fake


def client(config=None):
    return RegistryClient(config or RegistryConfig(certs_dirs=()), timings=FAST, environ={})


@pytest.mark.parametrize(
    ("without", "netloc", "direct"),
    [
        ("", "reg.example", False),
        ("*", "reg.example", True),
        ("reg.example", "reg.example:5000", True),
        ("reg.example", "sub.reg.example", True),
        ("reg.example", "notreg.example", False),
        (".reg.example", "reg.example", False),
        (".reg.example", "sub.reg.example", True),
        ("*.reg.example", "sub.reg.example", True),
        ("reg.example:5000", "reg.example:5000", True),
        ("reg.example:5000", "reg.example", False),
        ("reg.example:443", "reg.example", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("a, b ,REG.example", "reg.EXAMPLE", True),
        ("", "localhost:5000", True),
        ("", "127.9.9.9", True),
        ("", "[::1]:5000", True),
        ("", "localhost.evil.example", False),
    ],
)
def test_no_proxy_means_what_it_means_to_dockers_engine(without, netloc, direct):
    proxies = Proxies("http://p", "http://p", without)
    assert (proxies.proxy_for("https", netloc) is None) == direct


@given(st.text(max_size=30), st.text(alphabet="abc.:-1[]", max_size=20))
def test_any_no_proxy_is_read(without, netloc):
    try:
        Proxies("http://p", "http://p", without).proxy_for("https", netloc)
    except ValueError:
        assert "[" in netloc or "]" in netloc or ":" in netloc  # no host that a URL could name


def test_what_is_configured_goes_before_the_environment():
    environ = {"HTTP_PROXY": "http://env", "https_proxy": "http://env", "NO_PROXY": "x"}
    assert Proxies.of(environ) == Proxies("http://env", "http://env", "x")
    assert Proxies.of(environ, https="http://own") == Proxies("http://env", "http://own", "x")
    assert Proxies.of({"ALL_PROXY": "http://all"}) == Proxies("http://all", "http://all", "")


def test_a_proxy_of_an_unknown_kind_is_refused():
    with pytest.raises(RegistryError, match='unsupported protocol scheme "socks5"'):
        Proxies("socks5://p", "", "").proxy_for("http", "reg.example")


class Tunnel(socketserver.BaseRequestHandler):
    """A proxy that knows CONNECT only, wants a password, and leads everywhere to one place."""

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(4096)
        self.server.heads.append(head.decode())
        wanted = b"Basic " + base64.b64encode(b"me:p@ss")
        if wanted not in head:
            self.request.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(self.server.target) as out:
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy, args=(out, self.request), daemon=True)
            back.start()
            copy(self.request, out)
            back.join(10)


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def tunnel():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as server:
        server.heads, server.daemon_threads = [], True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def through(tunnel, registry, secret):
    host, port = registry.host.split(":")
    tunnel.target = (host, int(port))
    proxy = f"http://me:{secret}@127.0.0.1:{tunnel.server_address[1]}"
    config = RegistryConfig(certs_dirs=(), insecure=("reg.example",), https_proxy=proxy)
    endpoint = replace(endpoints("reg.example", config)[0], schemes=("https",))
    return client(config).session(endpoint, "app", cancel=Cancel())


def test_tls_goes_through_a_proxy_that_wants_a_password(tunnel, certificate):
    with tls_server(certificate) as registry:
        registry.add_image("app")
        assert get_manifest(through(tunnel, registry, "p%40ss"), "latest").raw
        assert tunnel.heads[0].startswith("CONNECT reg.example:443 HTTP/1.")
        assert all("Proxy-Authorization" not in headers for _, _, headers in registry.requests)


def test_a_password_that_the_proxy_refuses_is_told_and_not_shown(tunnel, certificate):
    with tls_server(certificate) as registry:
        with pytest.raises(RegistryUnreachable, match=r"proxyconnect tcp: .*407") as told:
            get_manifest(through(tunnel, registry, "wr0ng"), "latest")
        assert "wr0ng" not in str(told.value)
        assert registry.requests == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", None), ("0", 0), ("17", 17), (" 5 ", 5), ("-1", None), ("x", None), ("1.5", None), ("9" * 30, 999999999)],
)
def test_seconds_to_wait_are_read(value, seconds):
    assert retry_after_s(value, datetime.now(UTC)) == seconds


@pytest.mark.parametrize(("delta", "seconds"), [(30, 30), (-30, 0)])
def test_a_date_to_wait_for_is_read(delta, seconds):
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert retry_after_s(format_datetime(now + timedelta(seconds=delta), usegmt=True), now) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read(value):
    assert (retry_after_s(value, datetime.now(UTC)) or 0) >= 0


def found(registry, term, limit=25, **options):
    return search(client(), f"{registry.host}/{term}", limit, Credentials(**options), Cancel())


def test_a_search_asks_the_registrys_own_if_it_has_one(registry):
    answer = b'{"results": [{"name": "team/app", "star_count": 3, "description": "d"}]}'
    registry.faults.append(Fault(path="/v1/search?q=app&n=5", status=200, body=answer))
    assert [(row.name, row.star_count) for row in found(registry, "app", 5)] == [("team/app", 3)]


def test_a_search_else_reads_the_catalog(registry):
    for name in ("team/app", "team/other", "web/apps"):
        registry.add_image(name)
    assert [row.name for row in found(registry, "app")] == [f"{registry.host}/team/app", f"{registry.host}/web/apps"]
    assert len(found(registry, "app", 1)) == 1


def test_a_search_of_the_catalog_goes_through_its_pages(registry):
    link = '</v2/_catalog?n=1000&last=a>; rel="next"'
    registry.faults.append(Fault(path="_catalog", status=200, body=b'{"repositories": ["a1"]}', headers={"Link": link}))
    registry.add_image("a2")
    assert [row.name for row in found(registry, "a")] == [f"{registry.host}/a1", f"{registry.host}/a2"]


def test_a_search_where_there_is_none_says_so(registry):
    registry.faults.append(Fault(path="_catalog", status=404))
    with pytest.raises(RegistryError, match=r"Unexpected status code 404 from .*: it offers no search"):
        found(registry, "app")


def test_a_search_of_the_catalog_logs_in():
    with FakeRegistry(users={"u": "p"}) as registry:
        registry.add_image("app")
        assert [row.name for row in found(registry, "app", username="u", password="p")] == [f"{registry.host}/app"]
