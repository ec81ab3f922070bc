"""Pulling manifests and blobs from a registry that misbehaves in each of the known ways."""

import threading
from dataclasses import replace

import pytest

from corten.errors import Cancelled, DataLoss
from corten.registry.blob import BlobFetch
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient, resolve
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.endpoints import RegistryConfig
from corten.registry.errors import LoginRequired, RegistryError, RegistryRefused, RegistryUnreachable
from corten.registry.fetch import get_manifest, head_manifest
from corten.registry.timings import Timings
from corten.spec import reference
from corten.spec.oci_image import Descriptor
from corten.testing.made_images import digest_of
from corten.testing.registry import FakeRegistry, Fault

FAST = Timings(connect_s=30, stall_s=30, retry_base_s=0.01, retry_cap_s=0.02, attempts=4)


class Sink:
    def __init__(self, data=b""):
        self.data = bytearray(data)

    @property
    def offset(self):
        return len(self.data)

    def write(self, data):
        self.data += data


@pytest.fixture
def registry():
    with FakeRegistry() as fake:
        yield fake


def client(*, environ=None, timings=FAST, **config):
    return RegistryClient(RegistryConfig(certs_dirs=(), **config), timings=timings, environ=environ or {})


def session_for(registry, path="demo", credentials=ANONYMOUS, cancel=None, timings=FAST, **options):
    name = reference.parse(f"{registry.host}/{path}")
    found = client(timings=timings).sessions(name, credentials=credentials, cancel=cancel or Cancel(), **options)
    return found[0]


def fetch(sessions, descriptor, sink, **options):
    BlobFetch(sessions, descriptor, sink, **options).run()


def get_blob(session, descriptor, sink, **options):
    fetch([session], descriptor, sink, **options)


def blob(registry, data, repository="demo"):
    return Descriptor(media_type="x", digest=registry.add_blob(repository, data), size=len(data))


def test_a_manifest_comes_with_the_digest_of_its_bytes(registry):
    image = registry.add_image("demo", "1.0")
    found = get_manifest(session_for(registry), "1.0")
    assert (found.raw, found.digest) == (image.manifest, image.digest)
    assert head_manifest(session_for(registry), "1.0").digest == image.digest


def test_http_is_found_on_loopback_after_https_failed(registry):
    registry.add_image("demo")
    session = session_for(registry)
    get_manifest(session, "latest")
    assert session.url("x").startswith("http://127.0.0.1")


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_manifest_with_other_bytes_than_its_digest_is_refused(registry, by):
    image = registry.add_image("demo")
    registry.faults.append(Fault(path="/manifests/", corrupt=True))
    with pytest.raises(DataLoss):
        get_manifest(session_for(registry), "latest" if by == "tag" else image.digest)


def test_an_oversized_manifest_is_refused(registry):
    registry.add_manifest("demo", "big", b" " * (5 << 20))
    with pytest.raises(RegistryError, match="larger than the limit"):
        get_manifest(session_for(registry), "big")


def test_an_unknown_manifest_carries_the_registrys_reason(registry):
    with pytest.raises(RegistryRefused) as caught:
        get_manifest(session_for(registry), "nope")
    assert caught.value.reason == "MANIFEST_UNKNOWN"
    assert caught.value.message == "manifest unknown: manifest unknown"


def test_a_blob_arrives_whole(registry):
    data = bytes(range(256)) * 5000
    sink, seen = Sink(), []
    get_blob(session_for(registry), blob(registry, data), sink, on_progress=seen.append)
    assert bytes(sink.data) == data
    assert seen == sorted(seen)
    assert seen[-1] == len(data)


def test_an_empty_blob_is_fetched(registry):
    sink = Sink()
    get_blob(session_for(registry), blob(registry, b""), sink)
    assert sink.offset == 0
    assert registry.count("GET", "/blobs/") == 1


def test_a_transfer_that_breaks_off_goes_on_where_it_ended(registry):
    data = bytes(range(256)) * 2000
    wanted = blob(registry, data)
    registry.faults += [Fault(path="/blobs/", cut_after=100_000), Fault(path="/blobs/", cut_after=50_000)]
    sink, retries = Sink(), []
    get_blob(session_for(registry), wanted, sink, on_retry=retries.append)
    assert bytes(sink.data) == data
    ranges = [h.get("Range") for m, p, h in registry.requests if "/blobs/" in p]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert retries == [1, 1]


def test_more_cuts_than_attempts_are_survived_while_bytes_arrive(registry):
    data = bytes(range(256)) * 100
    wanted = blob(registry, data)
    registry.faults.append(Fault(path="/blobs/", cut_after=1000, times=12))
    sink = Sink()
    get_blob(session_for(registry), wanted, sink)
    assert bytes(sink.data) == data


def test_a_registry_without_ranges_is_read_from_the_start(registry):
    data = bytes(range(256)) * 2000
    wanted = blob(registry, data)
    registry.faults.append(Fault(path="/blobs/", ignore_range=True))
    sink = Sink(data[:1234])
    get_blob(session_for(registry), wanted, sink)
    assert bytes(sink.data) == data


def test_a_transfer_that_stalls_is_tried_again(registry):
    data = b"x" * 10_000
    wanted = blob(registry, data)
    gate = threading.Event()
    registry.faults.append(Fault(path="/blobs/", cut_after=10, stall=gate))
    sink = Sink()
    try:
        get_blob(session_for(registry, timings=replace(FAST, stall_s=0.3)), wanted, sink)
    finally:
        gate.set()
    assert bytes(sink.data) == data


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_passing_refusal_is_tried_again(registry, status):
    registry.add_image("demo")
    registry.faults.append(Fault(path="/manifests/", status=status, times=2))
    assert get_manifest(session_for(registry), "latest").raw
    wanted = blob(registry, b"data")
    registry.faults.append(Fault(path="/blobs/", status=status, times=2))
    sink = Sink()
    get_blob(session_for(registry), wanted, sink)
    assert bytes(sink.data) == b"data"


def test_retry_after_is_what_the_pause_is(registry):
    registry.add_image("demo")
    registry.faults.append(Fault(path="/manifests/", status=429, headers={"Retry-After": "0"}))
    slow = Timings(connect_s=5, stall_s=5, retry_base_s=3600, retry_cap_s=3600, attempts=2)
    assert get_manifest(session_for(registry, timings=slow), "latest").raw


def test_a_refusal_that_stays_is_told(registry):
    registry.add_image("demo")
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
    registry.faults.append(Fault(path="/manifests/", status=429, times=99, body=body))
    with pytest.raises(RegistryRefused, match=r"^toomanyrequests: You have reached your pull rate limit\.$"):
        get_manifest(session_for(registry), "latest")


def test_more_bytes_than_promised_are_refused(registry):
    wanted = blob(registry, b"0123456789")
    lying = Descriptor(media_type="x", digest=wanted.digest, size=5)
    with pytest.raises(DataLoss):
        get_blob(session_for(registry), lying, Sink())


def test_cancelling_wakes_a_waiting_transfer(registry):
    wanted = blob(registry, b"x" * 10_000)
    gate, cancel, started = threading.Event(), Cancel(), threading.Event()
    registry.faults.append(Fault(path="/blobs/", cut_after=100, stall=gate, times=99))
    session = session_for(registry, cancel=cancel, timings=Timings(stall_s=300))
    failures = []

    def work():
        try:
            get_blob(session, wanted, Sink(), on_progress=lambda _: started.set())
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(30)
        cancel.set()
        thread.join(30)
        assert not thread.is_alive()
        assert len(failures) == 1
    finally:
        gate.set()


def test_tokens_are_fetched_once_and_used_again():
    with FakeRegistry(tokens=True) as registry:
        image = registry.add_image("a/demo")
        session = session_for(registry, "a/demo")
        get_manifest(session, "latest")
        get_manifest(session, image.digest)
        assert registry.count("GET", "/token") == 1
        assert "scope=repository%3Aa%2Fdemo%3Apull" in next(p for _, p, _ in registry.requests if "/token" in p)


def test_an_expired_token_is_replaced():
    with FakeRegistry(tokens=True) as registry:
        registry.add_image("demo")
        session = session_for(registry)
        get_manifest(session, "latest")
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"expired"}]}'
        header = f'Bearer realm="{registry.scheme}://{registry.host}/token",service="fake"'
        registry.faults.append(Fault(path="/manifests/", status=401, body=body, headers={"WWW-Authenticate": header}))
        assert get_manifest(session, "latest").raw
        assert registry.count("GET", "/token") == 2


def test_wrong_passwords_are_told_and_never_shown():
    with FakeRegistry(tokens=True, users={"u": "right"}) as registry:
        registry.add_image("demo")
        session = session_for(registry, credentials=Credentials(username="u", password="wr0ng"))
        with pytest.raises(LoginRequired, match=r"unauthorized: incorrect username or password") as caught:
            get_manifest(session, "latest")
        assert "wr0ng" not in str(caught.value)
        assert "wr0ng" not in repr(session._credentials)


@pytest.mark.parametrize(
    "credentials", [Credentials(username="u", password="p"), Credentials(identity_token="identity")]
)
def test_passwords_and_identity_tokens_get_a_token(credentials):
    with FakeRegistry(tokens=True, users={"u": "p"}) as registry:
        registry.add_image("demo")
        assert get_manifest(session_for(registry, credentials=credentials), "latest").raw


def test_basic_authentication_works_and_is_remembered():
    with FakeRegistry(users={"u": "p"}) as registry:
        registry.add_image("demo")
        session = session_for(registry, credentials=Credentials(username="u", password="p"))
        get_manifest(session, "latest")
        get_manifest(session, "latest")
        assert registry.count("GET", "/manifests/") == 3


def test_basic_authentication_without_credentials_says_so():
    text = r'Get "http://.*/v2/demo/manifests/latest": no basic auth credentials'
    with FakeRegistry(users={"u": "p"}) as registry, pytest.raises(LoginRequired, match=text):
        get_manifest(session_for(registry), "latest")


def test_credentials_do_not_follow_a_redirect_to_another_host(registry):
    data = b"x" * 100
    with FakeRegistry(users={"u": "p"}) as front:
        wanted = blob(front, data)
        blob(registry, data)
        target = f"http://{registry.host}/v2/demo/blobs/{wanted.digest}"
        session = session_for(front, credentials=Credentials(username="u", password="p"))
        front.add_image("demo")
        get_manifest(session, "latest")
        front.faults.append(Fault(path="/blobs/", status=307, headers={"Location": target}))
        sink = Sink()
        get_blob(session, wanted, sink)
    assert bytes(sink.data) == data
    assert all("Authorization" not in headers for _, _, headers in registry.requests)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "/loop"])
def test_redirects_that_lead_nowhere_are_refused(registry, target):
    registry.faults.append(Fault(path="/", status=302, headers={"Location": target}, times=99))
    with pytest.raises(RegistryError, match=r"unsupported protocol scheme|stopped after"):
        get_manifest(session_for(registry), "latest")


def test_a_refused_connection_reads_as_with_docker():
    with FakeRegistry() as registry:
        host = registry.host
    name = reference.parse(f"{host}/demo")
    (session,) = client().sessions(name, cancel=Cancel())
    with pytest.raises(RegistryUnreachable) as caught:
        get_manifest(session, "latest")
    assert caught.value.message == f'Get "http://{host}/v2/": dial tcp {host}: connect: connection refused'


def test_a_name_that_does_not_resolve_reads_as_with_docker():
    (session,) = client().sessions(reference.parse("registry.invalid/demo"), cancel=Cancel())
    with pytest.raises(RegistryUnreachable, match=r'^Get "https://registry\.invalid/v2/": dial tcp: lookup'):
        get_manifest(session, "latest")


def test_a_mirror_serves_docker_io_and_the_upstream_takes_over_when_it_lacks_the_image(registry):
    image = registry.add_image("library/demo")
    with FakeRegistry() as empty:
        made = client(mirrors=(f"http://{empty.host}", f"http://{registry.host}"))
        sessions = made.sessions(reference.parse("demo"), cancel=Cancel())
        manifest, rest = resolve(sessions, "latest")
        assert manifest.digest == image.digest
        assert rest[0].endpoint.host == registry.host
        assert empty.count("GET", "/v2/library/demo/manifests/latest") == 1


def test_a_mirror_that_loses_a_blob_is_followed_by_the_next(registry):
    image = registry.add_image("library/demo")
    with FakeRegistry() as mirror:
        mirror.add_image("library/demo")
        mirror.faults.append(Fault(path="/blobs/", status=404, times=99))
        made = client(mirrors=(f"http://{mirror.host}", f"http://{registry.host}"))
        _, sessions = resolve(made.sessions(reference.parse("demo"), cancel=Cancel()), "latest")
        sink = Sink()
        layer = image.layers[0]
        fetch(sessions, Descriptor(media_type="x", digest=digest_of(layer), size=len(layer)), sink)
        assert bytes(sink.data) == layer


def test_mirrors_never_get_the_credentials():
    with FakeRegistry(users={"u": "p"}) as mirror:
        mirror.add_image("library/demo")
        made = client(mirrors=(f"http://{mirror.host}",))
        sessions = made.sessions(
            reference.parse("demo"), credentials=Credentials(username="u", password="p"), cancel=Cancel()
        )
        with pytest.raises(LoginRequired, match="no basic auth credentials"):
            get_manifest(sessions[0], "latest")
        assert all("Authorization" not in headers for _, _, headers in mirror.requests)


def test_a_proxy_from_the_environment_is_used_for_other_hosts(registry):
    made = client(environ={"http_proxy": f"http://{registry.host}"}, mirrors=("http://registry.invalid",))
    session = made.sessions(reference.parse("demo"), cancel=Cancel())[0]
    image = registry.add_image("library/demo")
    get_manifest(session, image.digest)
    assert registry.requests[0][1] == f"http://registry.invalid/v2/library/demo/manifests/{image.digest}"


def test_no_proxy_is_kept_to(registry):
    host = registry.host
    with FakeRegistry() as proxy:
        made = client(environ={"http_proxy": f"http://{proxy.host}", "no_proxy": "127.0.0.1"})
        registry.add_image("demo")
        get_manifest(made.sessions(reference.parse(f"{host}/demo"), cancel=Cancel())[0], "latest")
        assert proxy.requests == []
