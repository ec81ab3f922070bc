"""TLS settings by registry host: certs.d directories, and no verification for insecure ones. Blocking; net threads.

Source: Docker's "Verify repository client with certificates". In `certs.d/<host[:port]>/` each `*.crt` is a further CA,
each `*.cert` a client certificate with its key in the `*.key` of the same name. A hosts.toml may name further files.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corten.registry.errors import RegistryError


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files that count for one host, and when each was last changed: whoever renews one need not say so."""

    authorities: tuple[str, ...]
    clients: tuple[tuple[str, str], ...]
    changed: tuple[int, ...] = ()


def find_certificates(
    host: str,
    certs_dirs: Sequence[str],
    ca: Sequence[str] = (),
    clients: Sequence[tuple[str, str]] = (),
) -> Certificates:
    """The files in the `certs_dirs` for `host`, and those given. Raises RegistryError when a certificate has no key."""
    authorities, pairs = list(ca), list(clients)
    for folder, names in _folders(host, certs_dirs):
        authorities += [os.path.join(folder, name) for name in names if name.endswith(".crt")]
        for name in names:
            if name.endswith(".cert"):
                key = f"{name.removesuffix('.cert')}.key"
                if key not in names:
                    raise RegistryError(
                        f"missing key {key} for client certificate {name}", hint=f"put it into {folder}"
                    )
                pairs.append((os.path.join(folder, name), os.path.join(folder, key)))
    files = [*authorities, *(name for pair in pairs for name in pair)]
    return Certificates(tuple(authorities), tuple(pairs), tuple(_changed(name) for name in files))


def tls_context(certificates: Certificates, *, verify: bool) -> ssl.SSLContext:
    """The context for connections that `certificates` are for. Raises RegistryError when one cannot be read."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in certificates.authorities:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"cannot read certificate {path}: {error}") from error
    for path, key in certificates.clients:
        try:
            context.load_cert_chain(path, key)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"cannot read certificate {path} with key {key}: {error}") from error
    return context


def _folders(host: str, certs_dirs: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    if "/" in host or host.startswith("."):
        return
    for directory in certs_dirs:
        folder = os.path.join(directory, host)
        try:
            yield folder, sorted(os.listdir(folder))
        except OSError:
            continue


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
