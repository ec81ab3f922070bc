"""Getting manifests and lists of tags: sizes bounded, digests checked. Blocking; net threads. Blobs: see `blob`.

Source: OCI distribution-spec ("Pulling manifests", "Listing tags").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import msgspec

from corten.registry.errors import CorruptContent, RegistryError
from corten.registry.session import Session
from corten.registry.urls import join
from corten.spec.digest import Digest, digest_of, is_digest
from corten.spec.oci_image import ACCEPTED_TYPES, MANIFEST_LIMIT, Descriptor
from corten.spec.reference import is_tag

_ACCEPT = ", ".join((*ACCEPTED_TYPES, "*/*;q=0.5"))
_PAGES = 1000
_NEXT = re.compile(r"<([^<>]+)>\s*;[^,]*\brel=\"?next\"?")
OnProgress = Callable[[int], None]


class Sink(Protocol):
    """Where a blob goes; it may hold the beginning from an earlier try. The content store's ingest is one."""

    @property
    def offset(self) -> int:
        """How many bytes are there already."""

    def write(self, data: bytes) -> object:
        """Append."""


class Buffer:
    """A sink in memory, for what is small."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def offset(self) -> int:
        """How many bytes are there."""
        return len(self._data)

    def write(self, data: bytes) -> None:
        """Append."""
        self._data += data

    def content(self) -> bytes:
        """All of it."""
        return bytes(self._data)


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest or index as it was served; `digest` is that of `raw`."""

    media_type: str
    digest: Digest
    raw: bytes


def get_manifest(session: Session, tag_or_digest: str) -> RawManifest:
    """The manifest under a tag or a digest. Raises RegistryError; CorruptContent when it is not what was asked for."""

    def get() -> tuple[bytes, Mapping[str, str]]:
        with session.open("GET", f"manifests/{tag_or_digest}", headers={"Accept": _ACCEPT}, retry=False) as response:
            length = response.headers.get("Content-Length", "")
            if length.isascii() and length.isdigit() and int(length[:20]) > MANIFEST_LIMIT:
                text = f"manifest of {int(length[:20])} bytes is larger than the limit of {MANIFEST_LIMIT}"
                raise RegistryError(text)
            return response.body(MANIFEST_LIMIT), response.headers

    raw, headers = session.repeat(get)
    announced = headers.get("Docker-Content-Digest", "")
    digest = digest_of(raw)
    expected = tag_or_digest if is_digest(tag_or_digest) else announced
    if is_digest(expected) and digest != expected:
        raise CorruptContent(f"manifest verification failed for digest {expected}")
    return RawManifest(headers.get("Content-Type", "").partition(";")[0].strip(), digest, raw)


def head_manifest(session: Session, tag_or_digest: str) -> Descriptor | None:
    """What lies under a tag or a digest, without its bytes; None when the registry will not say."""
    with session.open("HEAD", f"manifests/{tag_or_digest}", headers={"Accept": _ACCEPT}) as response:
        digest = response.headers.get("Docker-Content-Digest", "")
        length = response.headers.get("Content-Length", "")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if not is_digest(digest) or not (length.isascii() and length.isdigit()) or len(length) > 10:
        return None
    return Descriptor(media_type=media_type, digest=digest, size=int(length))


def list_tags(session: Session, limit: int = 10_000) -> list[str]:
    """The tags of the repository, at most `limit`. Raises RegistryError."""
    tags = pages(session, "tags/list", lambda body: msgspec.json.decode(body, type=_Tags).tags or [], most=limit)
    return [tag for tag in tags if is_tag(tag)]


def pages(session: Session, path: str, read: Callable[[bytes], list[str]], *, most: int) -> Iterator[str]:
    """The entries of a list that comes in pages, each naming the next; `read` gives those of one. At most `most`."""
    left = most
    for _ in range(_PAGES):
        entries, link, url = session.repeat(partial(_page, session, path, read))
        entries = entries[:left]
        yield from entries
        left -= len(entries)
        if link is None or not left:
            return
        path = join(url, link.group(1))


def _page(
    session: Session, path: str, read: Callable[[bytes], list[str]]
) -> tuple[list[str], re.Match[str] | None, str]:
    with session.open("GET", path, retry=False) as response:
        try:
            return read(response.body()), _NEXT.match(response.headers.get("Link", "")), response.url
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise RegistryError(f'Get "{response.url}": the registry gave no valid list') from error


class _Tags(msgspec.Struct):
    tags: list[str] | None = None
