"""What a client is asked to send of a directory, as the headers of a transfer. Pure; daemon.

Source: BuildKit's session/filesync (encodeOpts) and the Dockerfile frontend's use of followpaths.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import quote_plus

from corten.errors import InvalidArgument

_HEADERS_LIMIT = 768 << 10  # bytes; clients take 1 MiB
_FIELD_BYTES = 32  # of each in a header list (RFC 9113, 6.5.2)


def headers(dir_name: str, *, excludes: Sequence[str] = (), paths: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The headers that ask for `dir_name` without what the patterns keep out, and only for `paths` if there are any.

    Raises InvalidArgument for more than a client would read.
    """
    found = [("dir-name", dir_name)] if _is_plain(dir_name) else _escaped("dir-name", [dir_name])
    for key, values in (("exclude-patterns", excludes), ("followpaths", paths)):
        if all(map(_is_plain, values)):
            found += [(key, value) for value in values]
        else:
            found += _escaped(key, values)
    size = sum(len(key) + len(value) + _FIELD_BYTES for key, value in found)
    if size > _HEADERS_LIMIT:
        raise InvalidArgument(f"the patterns of .dockerignore and the paths that are copied are too many: {size} bytes")
    return found


def _is_plain(value: str) -> bool:
    """Whether a value can be a header as it is."""
    return value.isascii() and value.isprintable() and value == value.strip()


def _escaped(key: str, values: Sequence[str]) -> list[tuple[str, str]]:
    return [*((key, quote_plus(os.fsencode(value))) for value in values), (f"{key}-encoded", "1")]


def followed(paths: Sequence[str]) -> list[str]:
    """Paths that a plan takes, as the client can follow them; none for the whole directory.

    Clients know the wildcards of one name only, so what begins with `**` is asked for with its whole directory; ways up
    may start at a link, and are followed here.
    """
    found: set[str] = set()
    for path in paths:
        names = [name for name in path.split("/") if name not in ("", ".")]
        deep = next((number for number, name in enumerate(names) if "**" in name), len(names))
        if deep == 0 or ".." in names:
            return []
        found.add("/".join(names[:deep]))
    return sorted(found)
