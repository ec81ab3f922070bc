"""The hosts.toml files: which mirrors a registry has, and how to speak to them. Daemon, net threads.

Source: containerd's "Registry Configuration" (docs/hosts.md), since those files exist already where registries other
than docker.io are mirrored. A file lies beside the certificates, in `certs.d/<host[:port]>/hosts.toml` (containerd's
`<host>_<port>_` is found, too), or in `certs.d/_default/hosts.toml` for all registries that have none of their own; it
is read anew for each pull. The hosts are asked in the order of the file, the `server` last.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from corten.registry.endpoint import HUB_HOST, Endpoint
from corten.registry.errors import RegistryError
from corten.spec.reference import DEFAULT_DOMAIN

FILE_NAME = "hosts.toml"
_LIMIT = 1 << 20
_CAPABILITIES = frozenset({"pull", "resolve", "push"})
_HOST_KEYS = frozenset({"capabilities", "ca", "client", "skip_verify", "override_path", "header", "dial_timeout"})


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a file says: the mirrors in order, and the registry itself if it names that."""

    mirrors: tuple[Endpoint, ...] = ()
    server: Endpoint | None = None


class _Wrong(Exception):
    """What is wrong in the file."""


def read_hosts(domain: str, certs_dirs: Sequence[str]) -> Hosts:
    """What the first file found for `domain` says. Raises RegistryError for one that cannot be used."""
    for name in _folders(domain):
        for directory in certs_dirs:
            path = os.path.join(directory, name, FILE_NAME)
            try:
                with open(path, "rb") as file:
                    text = file.read(_LIMIT).decode()
                return parse_hosts(text, os.path.dirname(path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, _Wrong) as error:
                raise RegistryError(f"cannot use {path}: {error}", hint="correct the file, or move it away") from error
    return Hosts()


def _folders(domain: str) -> list[str]:
    if "/" in domain or domain.startswith("."):  # searches and logins name any host, and no other folder
        return ["_default"]
    host, colon, port = domain.rpartition(":")
    return [domain, *([f"{host}_{port}_"] if colon else []), "_default"]


def parse_hosts(text: str, folder: str) -> Hosts:
    """The content of a file; relative paths in it start at `folder`. Raises ValueError or _Wrong."""
    document = tomllib.loads(text)
    _known(document, _HOST_KEYS | {"server", "host"}, "the file")
    hosts = document.get("host", {})
    if not isinstance(hosts, dict):
        raise _Wrong("host is no table")
    mirrors = [_endpoint(url, table, folder, mirror=True) for url, table in hosts.items()]
    server = document.get("server")
    return Hosts(
        tuple(mirror for mirror in mirrors if mirror is not None),
        None if server is None else _endpoint(server, document, folder, mirror=False),
    )


def _endpoint(url: Any, table: Any, folder: str, *, mirror: bool) -> Endpoint | None:
    """The endpoint of a table; None when it serves no pulls."""
    if not isinstance(url, str) or not isinstance(table, dict):
        raise _Wrong("a host is no table, or the server no URL")
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise _Wrong(f"{url} must be an http or https URL without credentials")
    if mirror:
        _known(table, _HOST_KEYS, url)
    capabilities = _strings(table.get("capabilities", [*_CAPABILITIES]), "capabilities")
    if unknown := set(capabilities) - _CAPABILITIES:
        raise _Wrong(f"{url}: unknown capability {min(unknown)}")
    if mirror and "pull" not in capabilities:
        return None
    path = parts.path.rstrip("/")
    ends = path.endswith("/v2") or _flag(table, "override_path")
    return Endpoint(
        host=HUB_HOST if parts.netloc == DEFAULT_DOMAIN else parts.netloc,  # docker.io itself is a web site
        schemes=(parts.scheme,),
        verify=not _flag(table, "skip_verify"),
        root=path if ends else f"{path}/v2",
        mirror=mirror,
        resolves=not mirror or "resolve" in capabilities,
        headers=tuple(_headers(table.get("header", {}))),
        ca=tuple(os.path.join(folder, name) for name in _strings(table.get("ca", []), "ca")),
        clients=tuple(_clients(table.get("client", []), folder)),
    )


def _known(table: Mapping[str, Any], keys: frozenset[str], where: str) -> None:
    if unknown := set(table) - keys:
        raise _Wrong(f"{where} has the unknown key {min(unknown)}")


def _flag(table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _Wrong(f"{key} must be true or false")
    return value


def _strings(value: Any, key: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(entry, str) for entry in values):
        raise _Wrong(f"{key} must be a text or a list of texts")
    return values


def _clients(value: Any, folder: str) -> list[tuple[str, str]]:
    """Pairs of certificate and key; a single file holds both."""
    pairs = [value] if isinstance(value, str) else value
    if not isinstance(pairs, list):
        raise _Wrong("client must be a file, or a list of files or of pairs of files")
    found = []
    for pair in pairs:
        names = _strings(pair, "client")
        if len(names) not in {1, 2}:
            raise _Wrong("client has a pair that is none")
        found.append((os.path.join(folder, names[0]), os.path.join(folder, names[-1])))
    return found


def _headers(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        raise _Wrong("header must be a table")
    found = [(name, text) for name, texts in value.items() for text in _strings(texts, f"header {name}")]
    if any(c in name + text for name, text in found for c in "\r\n"):
        raise _Wrong("header holds a line break")
    return found
