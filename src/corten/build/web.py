"""One file from a web server, unless it is the one that was there last time. Blocking; net threads.

A server that says the file is unchanged (ETag, Last-Modified: RFC 9110, section 13) sends nothing. The bytes are
digested as they come, and are no more than the disk has to spare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

import msgspec

from corten.build.location import redacted
from corten.errors import CortenError
from corten.registry.cancel import Cancel
from corten.registry.endpoint import Endpoint
from corten.registry.errors import RegistryError
from corten.registry.transport import Response, Transport

_CHUNK = 256 << 10
_VALIDATOR_LIMIT = 1024


class DownloadFailed(CortenError):
    """What was fetched is not what was asked for."""

    code = "build-download-failed"


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a URL gave last time: its digest (`sha256:<hex>`), and what the server knows that by."""

    digest: str
    etag: str = ""
    modified: str = ""
    used_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebUrl:
    """Where a file is: the URL without credentials, which are in `authorization`."""

    url: str
    authorization: str = field(default="", repr=False)


def download(
    transport: Transport, wanted: WebUrl, file: BinaryIO, *, seen: Seen | None, room: int, checksum: str, cancel: Cancel
) -> Seen:
    """GET into `file`, and what it was; `seen` itself, and nothing written, when that is still what is there.

    Raises RegistryError, DownloadFailed for another `checksum`, InwardRefused.
    """
    headers = {"Authorization": wanted.authorization} if wanted.authorization else {}
    if seen is not None and (seen.etag or seen.modified):
        headers |= {"If-None-Match": seen.etag} if seen.etag else {"If-Modified-Since": seen.modified}
    endpoint = Endpoint(host=urlsplit(wanted.url).netloc)
    request = transport.request("GET", wanted.url, endpoint=endpoint, headers=headers, cancel=cancel)
    with request as response:
        if response.status == 304 and seen is not None:
            return seen
        if response.status >= 300:
            raise RegistryError(f"failed to GET {redacted(wanted.url)} with status {response.status}")
        digest = _receive(response, wanted.url, file, room)
        if checksum and digest != checksum:
            raise DownloadFailed(f"digest mismatch {digest}: {checksum}")
        return Seen(
            digest=digest, etag=_header(response.headers, "ETag"), modified=_header(response.headers, "Last-Modified")
        )


def _receive(response: Response, url: str, file: BinaryIO, room: int) -> str:
    length = response.headers.get("Content-Length") or ""
    total = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
    digest, done = hashlib.sha256(), 0
    if total > room:
        raise DownloadFailed(f"{url[:256]} has {total} bytes, more than the {room} that the disk has to spare")
    for chunk in response.chunks(_CHUNK):
        done += len(chunk)
        if done > room:
            raise DownloadFailed(f"{url[:256]} has more than the {room} bytes that the disk has to spare")
        file.write(chunk)
        digest.update(chunk)
    if total and done != total:
        raise RegistryError(f'Get "{url}": unexpected EOF after {done} of {total} bytes')
    file.flush()
    return f"sha256:{digest.hexdigest()}"


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name) or ""
    return value if len(value) <= _VALIDATOR_LIMIT and value.isprintable() else ""
