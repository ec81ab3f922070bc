"""A certificate for loopback, and registries that show it."""

import ssl
import subprocess

import pytest

from corten.testing.registry import FakeRegistry


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def tls_server(certificate, *, clients=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "crt", certificate / "key")
    if clients:
        context.load_verify_locations(certificate / "crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return FakeRegistry(tls=context)
