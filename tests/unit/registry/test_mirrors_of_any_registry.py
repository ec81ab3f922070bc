"""Mirrors of any registry by hosts.toml."""

from dataclasses import replace

import pytest

from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient, resolve
from corten.registry.credentials import Credentials
from corten.registry.endpoints import RegistryConfig, endpoints
from corten.registry.errors import LoginRequired, RegistryError, RegistryUnreachable
from corten.registry.fetch import get_manifest
from corten.registry.hosts_file import parse_hosts
from corten.registry.login import login
from corten.registry.timings import Timings
from corten.spec import reference
from corten.testing.registry import FakeRegistry, Fault

from .conftest import tls_server

FAST = Timings(connect_s=5, stall_s=5, retry_base_s=0.01, retry_cap_s=0.02, attempts=3)


@pytest.fixture
def registry():
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def certs(tmp_path):
    """A certs.d; called with a registry's name and the text of its hosts.toml."""

    def write(name, text):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "hosts.toml").write_text(text)
        return RegistryConfig(certs_dirs=(str(tmp_path),))

    write.folder = tmp_path
    return write


def client(config=None, environ=None):
    return RegistryClient(config or RegistryConfig(certs_dirs=()), timings=FAST, environ=environ or {})


def sessions(config, name, **options):
    return client(config).sessions(reference.parse(name), cancel=Cancel(), **options)


def urls(domain, config, **options):
    return [endpoint.url(endpoint.schemes[0], "x") for endpoint in endpoints(domain, config, **options)]


def test_the_hosts_of_a_file_are_asked_in_its_order_and_the_registry_last(certs):
    config = certs(
        "reg.example:5000",
        """
        server = "https://upstream.example"
        [host."https://first.example"]
        capabilities = ["pull", "resolve"]
        [host."http://second.example:8080/cache"]
        [host."https://pushed.example"]
        capabilities = ["push"]
        [host."https://third.example/v2/reg"]
        override_path = true
        """,
    )
    assert urls("reg.example:5000", config) == [
        "https://first.example/v2/x?ns=reg.example%3A5000",
        "http://second.example:8080/cache/v2/x?ns=reg.example%3A5000",
        "https://third.example/v2/reg/x?ns=reg.example%3A5000",
        "https://upstream.example/v2/x",
    ]
    assert urls("reg.example:5000", config, push=True) == ["https://upstream.example/v2/x"]
    assert urls("other.example", config) == ["https://other.example/v2/x"]


def test_the_default_file_and_containerds_name_of_a_folder_are_found(certs):
    certs("_default", '[host."https://all.example"]')
    config = certs("reg.example_5000_", '[host."https://one.example"]')
    assert [e.host for e in endpoints("reg.example:5000", config)] == ["one.example", "reg.example:5000"]
    assert [e.host for e in endpoints("any.example", config)] == ["all.example", "any.example"]
    assert [e.host for e in endpoints("docker.io", config)] == ["all.example", "registry-1.docker.io"]


def test_the_registrys_own_host_is_no_mirror_of_it(certs):
    config = certs("docker.io", 'server = "https://docker.io"\n[host."https://registry-1.docker.io"]')
    assert urls("docker.io", config) == ["https://registry-1.docker.io/v2/x"] * 2
    assert not any(endpoint.mirror for endpoint in endpoints("docker.io", config))


def test_what_a_host_is_spoken_to_with_comes_from_its_table():
    text = """
        [host."https://m.example"]
        capabilities = ["pull"]
        skip_verify = true
        ca = ["one.pem", "/etc/two.pem"]
        client = [["c.pem", "k.pem"], "both.pem"]
        header = {x-one = "1", x-two = ["2", "3"]}
    """
    (mirror,) = parse_hosts(text, "/certs").mirrors
    assert (mirror.verify, mirror.resolves, mirror.mirror) == (False, False, True)
    assert mirror.ca == ("/certs/one.pem", "/etc/two.pem")
    assert mirror.clients == (("/certs/c.pem", "/certs/k.pem"), ("/certs/both.pem", "/certs/both.pem"))
    assert mirror.headers == (("x-one", "1"), ("x-two", "2"), ("x-two", "3"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("server = ", "Invalid value"),
        ("servre = 'https://x'", "unknown key servre"),
        ("server = 5", "no URL"),
        ("host = 5", "host is no table"),
        ("[host.'https://x']\nskip_verfy = true", "unknown key skip_verfy"),
        ("[host.'https://x']\nskip_verify = 'yes'", "skip_verify must be true or false"),
        ("[host.'https://x']\ncapabilities = ['fetch']", "unknown capability fetch"),
        ("[host.'ftp://x']", "must be an http or https URL"),
        ("[host.'https://u:p@x']", "without credentials"),
        ("[host.'https://x']\nheader = {a = \"b\\r\\nc\"}", "line break"),
        ("[host.'https://x']\nclient = [['a', 'b', 'c']]", "a pair that is none"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_path(certs, text, says):
    config = certs("reg.example", text)
    with pytest.raises(RegistryError, match=f"cannot use {certs.folder}/reg.example/hosts.toml: .*{says}"):
        endpoints("reg.example", config)


def test_a_mirror_of_another_registry_serves_its_images_and_is_told_which(certs, registry):
    with FakeRegistry() as mirror:
        image = mirror.add_image("team/app")
        config = certs(registry.host, f'[host."http://{mirror.host}"]')
        found, _ = resolve(sessions(config, f"{registry.host}/team/app"), "latest")
        assert found.digest == image.digest
        assert mirror.requests[0][1] == f"/v2/team/app/manifests/latest?ns={registry.host.replace(':', '%3A')}"
        assert registry.requests == []


def test_a_mirror_that_is_away_is_followed_by_the_registry(certs, registry):
    image = registry.add_image("team/app")
    config = certs(registry.host, '[host."http://127.0.0.1:1"]')
    found, _ = resolve(sessions(config, f"{registry.host}/team/app"), "latest")
    assert found.digest == image.digest


def test_a_mirror_that_does_not_resolve_is_asked_for_blobs_only(certs, registry):
    with FakeRegistry() as mirror:
        image = registry.add_image("team/app")
        config = certs(registry.host, f'[host."http://{mirror.host}"]\ncapabilities = ["pull"]')
        found = sessions(config, f"{registry.host}/team/app")
        manifest, rest = resolve(found, "latest")
        assert manifest.digest == image.digest
        assert [session.endpoint.host for session in rest] == [mirror.host, registry.host]
        assert mirror.requests == []
        resolve(found, image.digest)
        assert mirror.count("GET", image.digest) == 1


def test_headers_of_a_host_are_sent_to_it_and_do_not_follow_a_redirect(certs, registry):
    with FakeRegistry() as mirror:
        registry.add_image("team/app")
        there = f"http://{registry.host}/v2/team/app/manifests/latest"
        mirror.faults.append(Fault(path="/manifests/", status=307, headers={"Location": there}))
        config = certs("reg.example", f'[host."http://{mirror.host}"]\nheader = {{x-token = "secret"}}')
        get_manifest(sessions(config, "reg.example/team/app")[0], "latest")
        assert mirror.requests[0][2]["x-token"] == "secret"
        assert "x-token" not in registry.requests[0][2]


def test_a_server_gets_the_credentials_and_a_mirror_does_not(certs):
    who = Credentials(username="u", password="p")
    with FakeRegistry(users={"u": "p"}) as server, FakeRegistry(users={"u": "p"}) as mirror:
        server.add_image("app")
        config = certs("reg.example", f'server = "http://{server.host}"\n[host."http://{mirror.host}"]')
        resolve(sessions(config, "reg.example/app", credentials=who), "latest")
        assert all("Authorization" not in headers for _, _, headers in mirror.requests)
        assert login(client(config), "reg.example", who, Cancel()) == ""
        with pytest.raises(LoginRequired):
            resolve(sessions(config, "reg.example/app"), "latest")


@pytest.mark.parametrize("clients", [False, True])
def test_a_mirrors_authority_and_client_certificate_may_stand_in_the_file(certs, certificate, clients):
    with tls_server(certificate, clients=clients) as mirror:
        mirror.add_image("app")
        port = mirror.host.partition(":")[2]
        table = f'[host."https://127.0.0.1:{port}"]\n'
        pair = f'client = [["{certificate}/crt", "{certificate}/key"]]\n' if clients else ""
        config = certs("reg.example", f'{table}ca = "{certificate}/crt"\n{pair}')
        assert get_manifest(verified(config), "latest").raw
        config = certs("reg.example", table)
        with pytest.raises(RegistryUnreachable, match="x509"):
            get_manifest(verified(config), "latest")


def verified(config):
    """The mirror's session; it verifies, though the mirror is on loopback."""
    mirror = replace(endpoints("reg.example", config)[0], verify=True)
    return client(config).session(mirror, "app", cancel=Cancel())


def test_a_renewed_authority_counts_at_once(certs, certificate, tmp_path):
    with tls_server(certificate) as mirror:
        mirror.add_image("app")
        authority = tmp_path / "ca.pem"
        config = certs("reg.example", f'[host."https://{mirror.host}"]\nca = "{authority}"')
        made = client(config)
        session = made.session(replace(endpoints("reg.example", config)[0], verify=True), "app", cancel=Cancel())
        with pytest.raises(RegistryError, match="cannot read certificate"):
            get_manifest(session, "latest")
        authority.write_bytes((certificate / "crt").read_bytes())
        assert get_manifest(session, "latest").raw


def test_a_mirror_that_is_overloaded_is_not_tried_for_long(certs, registry):
    with FakeRegistry() as mirror:
        image = registry.add_image("team/app")
        mirror.faults.append(Fault(path="/manifests/", status=503, times=99))
        config = certs(registry.host, f'[host."http://{mirror.host}"]')
        found, _ = resolve(sessions(config, f"{registry.host}/team/app"), "latest")
        assert found.digest == image.digest
        assert mirror.count("GET", "/manifests/") == 2


@pytest.mark.parametrize("verify", [True, False])
def test_a_redirect_from_tls_to_none_is_followed_for_insecure_registries_only(certs, registry, certificate, verify):
    with tls_server(certificate) as front:
        registry.add_image("app")
        there = f"http://{registry.host}/v2/app/manifests/latest"
        front.faults.append(Fault(path="/manifests/", status=302, headers={"Location": there}))
        config = certs("reg.example", f'[host."https://{front.host}"]\nca = "{certificate}/crt"')
        mirror = replace(endpoints("reg.example", config)[0], verify=verify)
        session = client(config).session(mirror, "app", cancel=Cancel())
        if verify:
            with pytest.raises(RegistryError, match="refused a redirect from HTTPS to HTTP"):
                get_manifest(session, "latest")
            assert registry.requests == []
        else:
            assert get_manifest(session, "latest").raw
