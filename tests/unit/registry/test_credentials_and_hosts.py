"""Credentials as clients write them, what a challenge asks for, and which hosts serve a domain."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidArgument, Unauthorized
from corten.registry.auth import parse_challenges
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import ANONYMOUS, Credentials, decode_auth_config, decode_header
from corten.registry.endpoints import RegistryConfig, endpoints, is_insecure
from corten.registry.errors import RegistryUnreachable
from corten.registry.fetch import get_manifest
from corten.registry.login import domain_of, login
from corten.spec import reference
from corten.testing.registry import FakeRegistry

from .conftest import tls_server


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_the_header_is_read_in_every_alphabet(encode, pad):
    raw = json.dumps({"username": "üser?>", "password": "p~~ÿ", "serveraddress": "x", "email": None}).encode()
    text = encode(raw).decode()
    found = decode_header(text if pad else text.rstrip("="))
    assert (found.username, found.password) == ("üser?>", "p~~ÿ")
    assert decode_auth_config(text).server_address == "x"


def test_the_forms_of_credentials_are_all_read():
    def header(**fields):
        return decode_header(base64.b64encode(json.dumps(fields).encode()).decode())

    assert header(auth=base64.b64encode(b"u:p:q").decode()) == Credentials(username="u", password="p:q")
    assert header(identitytoken="t") == Credentials(identity_token="t")
    assert header(registrytoken="t") == Credentials(registry_token="t")
    assert decode_header("e30=") == decode_header("") == ANONYMOUS


@given(st.text(max_size=60))
def test_any_other_header_is_refused_without_being_shown(text):
    with suppress(InvalidArgument):
        assert isinstance(decode_header(text), Credentials)
    with pytest.raises(InvalidArgument, match=r"^invalid X-Registry-Auth header: it is not base64 of a JSON object$"):
        decode_header("!" + text)


def test_secrets_have_no_representation():
    secret = Credentials(username="u", password="s3cret", identity_token="s3cret", registry_token="s3cret")
    assert "s3cret" not in repr(secret)
    raw = base64.b64encode(b'{"password":"s3cret"}').decode()
    assert "s3cret" not in repr(decode_auth_config(raw))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})]),
        ('Basic realm="x y"', [("basic", {"realm": "x y"})]),
        ('Negotiate, Basic realm="x", Bearer realm=y', [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (r'Basic realm="a\"b"', [("basic", {"realm": 'a"b'})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges_are_read(header, expected):
    assert [(c.scheme, dict(c.parameters)) for c in parse_challenges(header)] == expected


@given(st.text(alphabet='Bb ,="\\a1\t', max_size=60))
def test_any_challenge_is_read_to_its_end(header):
    parse_challenges(header)


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("127.0.0.1:5000", True),
        ("127.8.8.8", True),
        ("localhost:80", True),
        ("[::1]:5000", True),
        ("registry.example:5000", True),
        ("10.1.2.3:80", True),
        ("registry.example", False),
        ("127.0.0.1.example.com", False),
        ("10.2.2.3", False),
        ("docker.io", False),
    ],
)
def test_insecure_hosts_are_loopback_and_the_named(host, insecure):
    assert is_insecure(host, ("registry.example:5000", "10.1.0.0/16")) is insecure


def test_mirrors_serve_docker_hub_and_pulls_only():
    config = RegistryConfig(mirrors=("https://mirror.example", "http://127.0.0.1:1/prefix/"), certs_dirs=())
    urls = [e.url(e.schemes[0], "x") for e in endpoints("docker.io", config)]
    assert urls == [
        "https://mirror.example/v2/x",
        "http://127.0.0.1:1/prefix/v2/x",
        "https://registry-1.docker.io/v2/x",
    ]
    assert [e.host for e in endpoints("docker.io", config, push=True)] == ["registry-1.docker.io"]
    assert [e.host for e in endpoints("other.example", config)] == ["other.example"]


@pytest.mark.parametrize("url", ["mirror", "ftp://x", "https://u:p@x", "https://x?q=1", "https://"])
def test_mirrors_that_cannot_be_are_refused(url):
    with pytest.raises(InvalidArgument, match="invalid mirror"):
        RegistryConfig(mirrors=(url,))


@pytest.mark.parametrize(
    ("server", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://reg.example/v2/", "reg.example"),
    ],
)
def test_a_server_address_names_a_domain(server, domain):
    assert domain_of(server) == domain


@pytest.mark.parametrize("tokens", [True, False])
def test_a_login_is_checked_at_the_registry(tokens):
    with FakeRegistry(tokens=tokens, users={"u": "p"}) as registry:
        client = RegistryClient(RegistryConfig(certs_dirs=()), environ={})
        token = login(client, registry.host, Credentials(username="u", password="p"), Cancel())
        assert token == ("identity" if tokens else "")
        with pytest.raises(Unauthorized, match=r"unauthorized: "):
            login(client, registry.host, Credentials(username="u", password="wrong"), Cancel())


def strict(config, host):
    """A session that verifies, though the registry is on loopback."""
    from dataclasses import replace

    client = RegistryClient(config, environ={})
    endpoint = replace(endpoints(host, config)[0], verify=True, schemes=("https",))
    return client.session(endpoint, "demo", cancel=Cancel())


def test_an_unknown_certificate_is_refused_and_a_certs_d_one_taken(certificate, tmp_path):
    with tls_server(certificate) as registry:
        registry.add_image("demo")
        config = RegistryConfig(certs_dirs=(str(tmp_path),))
        with pytest.raises(RegistryUnreachable, match=r"x509: certificate signed by unknown authority"):
            get_manifest(strict(config, registry.host), "latest")
        (tmp_path / registry.host).mkdir()
        (tmp_path / registry.host / "ca.crt").write_bytes((certificate / "crt").read_bytes())
        assert get_manifest(strict(config, registry.host), "latest").raw


def test_a_client_certificate_from_certs_d_is_shown(certificate, tmp_path):
    with tls_server(certificate, clients=True) as registry:
        registry.add_image("demo")
        folder = tmp_path / registry.host
        folder.mkdir()
        for name, source in [("ca.crt", "crt"), ("client.cert", "crt"), ("client.key", "key")]:
            (folder / name).write_bytes((certificate / source).read_bytes())
        assert get_manifest(strict(RegistryConfig(certs_dirs=(str(tmp_path),)), registry.host), "latest").raw


def test_an_insecure_registry_may_have_any_certificate(certificate):
    with tls_server(certificate) as registry:
        registry.add_image("demo")
        client = RegistryClient(RegistryConfig(certs_dirs=()), environ={})
        (session,) = client.sessions(reference.parse(f"{registry.host}/demo"), cancel=Cancel())
        assert get_manifest(session, "latest").raw
        assert session.url("").startswith("https://")


def test_plain_http_is_told_apart_from_bad_tls(tmp_path):
    with FakeRegistry() as registry:
        config = RegistryConfig(certs_dirs=(str(tmp_path),))
        with pytest.raises(RegistryUnreachable, match=r"http: server gave HTTP response to HTTPS client$"):
            get_manifest(strict(config, registry.host), "latest")
