"""A file from a web server, over the connections, proxies and certificates that registries are reached by.

Blocking; net threads. Used for `import URL` and ADD: what comes is whoever's, and nothing of it is trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from corten.errors import InvalidArgument
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.endpoint import Endpoint
from corten.registry.errors import RegistryError


def web_server(url: str) -> Endpoint:
    """The server that `url` names. Raises InvalidArgument for what is no http or https URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InvalidArgument(f"cannot download from {url[:256]!r}: it is no http:// or https:// URL")
    return Endpoint(host=parts.netloc)


def download_url(
    client: RegistryClient,
    endpoint: Endpoint,
    url: str,
    write: Callable[[bytes], object],
    *,
    on_start: Callable[[], None],
    on_progress: Callable[[int, int], None],
    cancel: Cancel,
) -> str:
    """GET `url` and `write` all of it; returns the Last-Modified header, or nothing.

    `on_start` hears that it comes, `on_progress` how much of how much is here (0: nobody knows). Raises RegistryError
    when it cannot be had or breaks off.
    """
    with client.transport.request("GET", url, endpoint=endpoint, headers={}, cancel=cancel) as response:
        if response.status >= 400:
            raise RegistryError(f"failed to GET {url} with status {response.status}")
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
        done = 0
        on_start()
        for chunk in response.chunks():
            write(chunk)
            done += len(chunk)
            on_progress(done, total)
        if total and done != total:
            raise RegistryError(f'Get "{url}": unexpected EOF after {done} of {total} bytes')
        return response.headers.get("Last-Modified") or ""
