"""TLS settings by registry host: certs.d directories, and no verification for insecure ones. Blocking; net threads.

Source: Docker's "Verify repository client with certificates". In `certs.d/<host[:port]>/` each `*.crt` is a further CA,
each `*.cert` a client certificate with its key in the `*.key` of the same name.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence

from corten.registry.errors import RegistryError


def tls_context(host: str, *, verify: bool, certs_dirs: Sequence[str]) -> ssl.SSLContext:
    """The context for connections to `host`. Raises RegistryError for a certificate that cannot be read."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for directory in certs_dirs:
        folder = os.path.join(directory, host)
        if "/" in host or host.startswith("."):
            continue
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        _load(context, folder, names)
    return context


def _load(context: ssl.SSLContext, folder: str, names: Sequence[str]) -> None:
    for name in names:
        path = os.path.join(folder, name)
        stem, extension = os.path.splitext(name)
        try:
            if extension == ".crt":
                context.load_verify_locations(path)
            elif extension == ".cert":
                key = f"{stem}.key"
                if key not in names:
                    raise RegistryError(
                        f"missing key {key} for client certificate {name}", hint=f"put it into {folder}"
                    )
                context.load_cert_chain(path, os.path.join(folder, key))
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"cannot read certificate {path}: {error}") from error
