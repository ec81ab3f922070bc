"""TLS for tcp:// addresses: --tls, --tlsverify and their files, or DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."""

from __future__ import annotations

import os

from corten.cli.config_file import config_folder
from corten.client.address import TlsFiles


def tls_files(settings: dict[str, object]) -> TlsFiles | None:
    """The files to use, None for no TLS."""
    verify = bool(settings.get("tlsverify", os.environ.get("DOCKER_TLS_VERIFY")))
    named = any(settings.get(name) for name in ("tlscacert", "tlscert", "tlskey"))
    if not (verify or named or settings.get("tls") or os.environ.get("DOCKER_TLS")):
        return None
    folder = os.environ.get("DOCKER_CERT_PATH") or config_folder()
    return TlsFiles(
        ca=str(settings.get("tlscacert") or os.path.join(folder, "ca.pem")),
        cert=str(settings.get("tlscert") or os.path.join(folder, "cert.pem")),
        key=str(settings.get("tlskey") or os.path.join(folder, "key.pem")),
        verify=verify,
    )
