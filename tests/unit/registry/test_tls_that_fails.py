"""TLS that breaks in each of the known ways: the words are Docker's, and nothing is sent to who is not the registry."""

import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.endpoints import RegistryConfig, endpoints
from corten.registry.errors import RegistryUnreachable
from corten.registry.fetch import get_manifest
from corten.registry.timings import Timings
from corten.testing.registry import FakeRegistry

QUICK = Timings(connect_s=30, stall_s=30, retry_base_s=0.001, attempts=2)
_AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1
[req]
distinguished_name = none
[none]
"""


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def expired(tmp_path_factory):
    """A certificate for loopback that was good for one day, long ago."""
    folder = tmp_path_factory.mktemp("expired")
    (folder / "conf").write_text(_AUTHORITY.format(folder=folder))
    (folder / "index").touch()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "key"]
    openssl("req", "-new", *key, "-subj", "/CN=old", "-config", folder / "conf", "-out", folder / "csr")
    days = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    own = ["-selfsign", "-keyfile", folder / "key", "-config", folder / "conf"]
    openssl("ca", "-batch", *own, *days, "-in", folder / "csr", "-out", folder / "crt", "-notext")
    return folder


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A certificate for another host."""
    folder = tmp_path_factory.mktemp("another")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "key"]
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:other.example",
            "-out", folder / "crt")  # fmt: skip
    return folder


def ask(host, folder, authority, timings=QUICK):
    """Ask for a manifest, with a password, of a registry on loopback whose certificate is checked."""
    if authority is not None:
        (folder / host).mkdir()
        (folder / host / "ca.crt").write_bytes((authority / "crt").read_bytes())
    config = RegistryConfig(certs_dirs=(str(folder),))
    client = RegistryClient(config, timings=timings, environ={})
    endpoint = replace(endpoints(host, config)[0], verify=True, schemes=("https",))
    who = Credentials(username="u", password="p")
    return get_manifest(client.session(endpoint, "demo", credentials=who, cancel=Cancel()), "latest")


@pytest.mark.parametrize(
    ("served", "trusted", "says"),
    [
        ("certificate", None, "certificate signed by unknown authority"),
        ("certificate", "another", "certificate signed by unknown authority"),
        ("expired", "expired", "certificate has expired or is not yet valid"),
        ("another", "another", r"certificate is not valid for 127\.0\.0\.1"),
    ],
)
def test_a_certificate_that_is_wrong_is_told_and_nothing_is_sent(request, tmp_path, served, trusted, says):
    folder = request.getfixturevalue(served)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    with FakeRegistry(users={"u": "p"}, tls=context) as registry:
        registry.add_image("demo")
        with pytest.raises(RegistryUnreachable, match=f"tls: failed to verify certificate: x509: {says}$"):
            ask(registry.host, tmp_path, request.getfixturevalue(trusted) if trusted else None)
        assert registry.requests == []


@contextmanager
def answering(behave):
    """A server that does something else than TLS; its address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            behave(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def hangs_up(peer):
    peer.recv(10)


def says_nothing(peer):
    while peer.recv(4096):
        pass


def talks_ssh(peer):
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.recv(10)


def sends_an_alert(peer):
    peer.recv(4096)
    peer.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # fatal, handshake_failure


@pytest.mark.parametrize(
    ("behave", "says"),
    [
        (hangs_up, "EOF|reset"),
        (says_nothing, "timeout|Timeout|timed out"),
        (talks_ssh, "HTTP response to HTTPS client|tls: "),
        (sends_an_alert, "tls: .*handshake failure"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_handshake_that_fails_is_told(tmp_path, behave, says):
    with answering(behave) as host, pytest.raises(RegistryUnreachable, match=f'^Get "https://{host}/v2/": .*({says})'):
        ask(host, tmp_path, None, replace(QUICK, connect_s=0.3) if behave is says_nothing else QUICK)
