"""URLs and numbers in the answers of a registry that wishes no good: an error of the registry's, and no password told."""

from dataclasses import replace

import pytest

from corten.errors import CortenError
from corten.registry.auth import Tokens
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.endpoint import Endpoint
from corten.registry.endpoints import RegistryConfig, endpoints
from corten.registry.errors import RegistryError
from corten.registry.fetch import get_manifest, list_tags
from corten.registry.hosts_file import Hosts, read_hosts
from corten.registry.session import Schemes, Session
from corten.registry.timings import Timings
from corten.registry.transport import Transport
from corten.spec import reference
from corten.testing.registry import FakeRegistry, Fault

FAST = Timings(connect_s=5, stall_s=5, retry_base_s=0.01, retry_cap_s=0.02, attempts=2)
IMPATIENT = replace(FAST, stall_s=0.3, attempts=1)
PLACES = ["http://[::1", "//[/", "https://a\0b/x", "http://127.0.0.1:99999/x", "http://127.0.0.1:x/", "http://127.0.0.1:-1/",
          "http://exa mple/x", "http://a..b/", "https://../x", "http://127.0.0.1:0/", "http:///x", "gopher://x/"]  # fmt: skip


@pytest.fixture
def registry():
    with FakeRegistry() as fake:
        fake.add_image("demo")
        yield fake


def session_at(registry, timings=FAST):
    client = RegistryClient(RegistryConfig(certs_dirs=("/nowhere",)), timings=timings, environ={})
    return client.sessions(reference.parse(f"{registry.host}/demo"), cancel=Cancel())[0]


@pytest.mark.parametrize("place", PLACES)
def test_a_redirect_a_token_server_and_a_next_page_are_anything(registry, place):
    registry.faults += [
        Fault(path="/manifests/one", status=307, headers={"Location": place}, times=9),
        Fault(path="/manifests/two", status=401, headers={"WWW-Authenticate": f'Bearer realm="{place}"'}, times=9),
        Fault(path="/tags/", status=200, body=b'{"tags":["a"]}', headers={"Link": f'<{place}>; rel="next"'}, times=9),
    ]
    session = session_at(registry)
    for ask in (
        lambda: get_manifest(session, "one"),
        lambda: get_manifest(session, "two"),
        lambda: list_tags(session),
        lambda: session.open("GET", place if place.startswith("http") else f"http://{place}"),
    ):
        with pytest.raises(CortenError):
            ask()


@pytest.mark.parametrize("life", ["1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 30])
def test_a_token_may_claim_to_live_for_ever(life):
    with FakeRegistry(tokens=True) as registry:
        registry.add_image("demo")
        answer = b'{"token":"x","expires_in":%s}' % life.encode()
        registry.faults.append(Fault(path="/token", status=200, body=answer, times=9))
        with pytest.raises(CortenError, match="unauthorized"):
            get_manifest(session_at(registry), "latest")


@pytest.mark.parametrize("length", ["\xb2", "9" * 4000, "-5", "x"])
def test_a_length_that_is_none_is_passed_over_or_refused(registry, length):
    fault = Fault(path="/manifests/", status=200, body=b"{}", headers={"Content-Length": length}, times=9)
    registry.faults += [fault]
    try:
        assert get_manifest(session_at(registry, IMPATIENT), "latest").raw == b"{}"
    except CortenError as error:
        assert "larger than the limit" in str(error) or "canceled" in str(error) or "EOF" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("schemes", "url", "at"),
    [
        (("https",), "https://reg.example/v2/", True),
        (("https",), "http://reg.example/v2/", False),
        (("https", "http"), "http://reg.example/v2/", True),
        (("http",), "http://reg.example/v2/", True),
        (("http",), "https://reg.example/v2/", True),
        (("https",), "https://u@reg.example/v2/", False),
        (("https",), "https://reg.example.evil/v2/", False),
    ],
)
def test_a_password_is_for_the_registry_as_it_is_to_be_spoken_to(schemes, url, at):
    assert Endpoint(host="reg.example", schemes=schemes).is_at(url) is at


def test_a_registry_that_is_verified_does_not_lead_out_of_tls(registry):
    transport = Transport(timings=FAST)
    session = Session(
        Endpoint(host=registry.host), "demo", credentials=Credentials(username="u", password="p"), cancel=Cancel(),
        transport=transport, tokens=Tokens(transport), schemes=Schemes(), timings=FAST,
    )  # fmt: skip
    with pytest.raises(RegistryError, match="refused to go on without TLS"):
        session.open("PUT", f"http://{registry.host}/v2/demo/blobs/uploads/1", body=b"secret layer")
    assert registry.requests == []


@pytest.mark.parametrize("domain", ["..", ".", "../other", "a/../.."])
def test_a_registry_of_a_strange_name_has_no_files_but_the_default_ones(tmp_path, domain):
    for folder in (tmp_path, tmp_path / "certs.d", tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        (folder / "hosts.toml").write_text('server = "https://evil.example"')
    (tmp_path / "certs.d/a").mkdir()
    assert read_hosts(domain, (str(tmp_path / "certs.d"),)) == Hosts()
    assert [e.host for e in endpoints(domain, RegistryConfig(certs_dirs=(str(tmp_path / "certs.d"),)))] == [domain]
