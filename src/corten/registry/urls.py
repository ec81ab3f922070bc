"""URLs that servers name: in redirects, in Location and Link headers, as token servers. Pure; net threads.

Nobody vouches for them: what is no URL is the server's error, and not one of the code that reads it.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from corten.registry.errors import RegistryError


def split(url: str) -> SplitResult:
    """The parts of a whole URL. Raises RegistryError for one whose host or port can be none."""
    try:
        parts = urlsplit(url)
        _checked = parts.port
    except ValueError:
        raise RegistryError(f"invalid URL {url[:256]!r}") from None
    if not parts.netloc.isprintable():
        raise RegistryError(f"invalid URL {url[:256]!r}")
    return parts


def join(base: str, location: str) -> str:
    """The whole URL that `location` means in an answer of `base`. Raises RegistryError."""
    try:
        url = urljoin(base, location)
    except ValueError:
        raise RegistryError(f'"{base}" names the invalid URL {location[:256]!r}') from None
    split(url)
    return url
