"""One place that serves a registry's API: its URLs and how to speak to it. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from corten.registry.urls import split

HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A host that answers for a registry; `schemes` are tried in order, `root` is where its API lies.

    A `mirror` gets nobody's credentials; one that does not resolve is asked by digest only. `namespace` tells a mirror
    of several registries which of them is meant (`?ns=`, as containerd does). `ca` are files of further authorities,
    `clients` pairs of files of certificate and key; the files of certs.d for `host` count besides.
    """

    host: str
    schemes: tuple[str, ...] = ("https",)
    verify: bool = True
    root: str = "/v2"
    mirror: bool = False
    resolves: bool = True
    namespace: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    ca: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()

    def base(self, scheme: str) -> str:
        """The URL of the host."""
        return f"{scheme}://{self.host}"

    def url(self, scheme: str, path: str) -> str:
        """The URL of `path` in the API."""
        url = f"{self.base(scheme)}{self.root}/{path}"
        if not self.namespace:
            return url
        return f"{url}{'&' if '?' in url else '?'}ns={quote(self.namespace, safe='')}"

    def is_at(self, url: str) -> bool:
        """Whether `url` leads to this host as it is to be spoken to: not to where it redirected, nor out of TLS.

        Raises RegistryError for what is no URL.
        """
        parts = split(url)
        return parts.netloc == self.host and parts.scheme in {"https", *self.schemes}
