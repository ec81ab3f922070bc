"""Getting manifests and blobs: sizes bounded, digests checked, broken transfers taken up where they ended. Blocking.

Net threads. Source: OCI distribution-spec ("Pulling manifests", "Pulling blobs"), RFC 9110 section 14 for ranges.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin

import msgspec

from corten.errors import InvalidArgument
from corten.registry.errors import CorruptContent, RegistryError, RegistryRefused, RegistryUnreachable
from corten.registry.session import OnRetry, Session, is_transient, pause_s
from corten.registry.transport import Response
from corten.spec.digest import Digest, digest_of, is_digest
from corten.spec.oci_image import ACCEPTED_TYPES, MANIFEST_LIMIT, Descriptor
from corten.spec.reference import is_tag

_ACCEPT = ", ".join((*ACCEPTED_TYPES, "*/*;q=0.5"))
_PAGES = 1000
_NEXT = re.compile(r"<([^<>]+)>\s*;[^,]*\brel=\"?next\"?")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
OnProgress = Callable[[int], None]


class Sink(Protocol):
    """Where a blob goes; it may hold the beginning from an earlier try. The content store's ingest is one."""

    @property
    def offset(self) -> int:
        """How many bytes are there already."""

    def write(self, data: bytes) -> object:
        """Append."""


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest or index as it was served; `digest` is that of `raw`."""

    media_type: str
    digest: Digest
    raw: bytes


def get_manifest(session: Session, tag_or_digest: str) -> RawManifest:
    """The manifest under a tag or a digest. Raises RegistryError; CorruptContent when it is not what was asked for."""
    with session.open("GET", f"manifests/{tag_or_digest}", headers={"Accept": _ACCEPT}) as response:
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and int(length[:20]) > MANIFEST_LIMIT:
            raise RegistryError(f"manifest of {int(length[:20])} bytes is larger than the limit of {MANIFEST_LIMIT}")
        raw = response.body(MANIFEST_LIMIT)
        announced = response.headers.get("Docker-Content-Digest", "")
    digest = digest_of(raw)
    expected = tag_or_digest if is_digest(tag_or_digest) else announced
    if is_digest(expected) and digest != expected:
        raise CorruptContent(f"manifest verification failed for digest {expected}")
    return RawManifest(response.headers.get("Content-Type", "").partition(";")[0].strip(), digest, raw)


def head_manifest(session: Session, tag_or_digest: str) -> Descriptor | None:
    """What lies under a tag or a digest, without its bytes; None when the registry will not say."""
    with session.open("HEAD", f"manifests/{tag_or_digest}", headers={"Accept": _ACCEPT}) as response:
        digest = response.headers.get("Docker-Content-Digest", "")
        length = response.headers.get("Content-Length", "")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if not is_digest(digest) or not length.isdigit() or len(length) > 10:
        return None
    return Descriptor(media_type=media_type, digest=digest, size=int(length))


def list_tags(session: Session, limit: int = 10_000) -> list[str]:
    """The tags of the repository, at most `limit`. Raises RegistryError."""
    tags: list[str] = []
    path = "tags/list"
    for _ in range(_PAGES):
        with session.open("GET", path) as response:
            try:
                page = msgspec.json.decode(response.body(), type=_Tags).tags or []
            except (msgspec.DecodeError, RecursionError, ValueError) as error:
                raise RegistryError(f"{session.repository}: the registry gave no valid list of tags") from error
            link = _NEXT.match(response.headers.get("Link", ""))
        tags += [tag for tag in page if is_tag(tag)]
        if link is None or len(tags) >= limit:
            break
        path = urljoin(response.url, link.group(1))
    return tags[:limit]


def get_blob(
    session: Session,
    descriptor: Descriptor,
    sink: Sink,
    *,
    on_progress: OnProgress | None = None,
    on_retry: OnRetry | None = None,
) -> None:
    """Append what `sink` lacks of the blob, through as many requests as it takes.

    The tries are counted anew whenever one brought bytes. The size is exact at the end; the digest is the sink's to
    check. Raises RegistryError, CorruptContent, Cancelled.
    """
    failures = 0
    while sink.offset < descriptor.size or descriptor.size == 0:
        before = sink.offset
        try:
            _get_part(session, descriptor, sink, on_progress)
            if sink.offset >= descriptor.size:
                break
            raise RegistryUnreachable(f"{_name(session, descriptor)}: unexpected EOF", transient=True)
        except RegistryError as error:
            failures = 1 if sink.offset > before else failures + 1
            if not is_transient(error) or failures >= session.timings.attempts:
                raise
            delay = pause_s(failures, session.timings, error)
            if on_retry is not None:
                on_retry(max(round(delay), 1))
            session.cancel.sleep(delay)
    if sink.offset > descriptor.size:
        raise CorruptContent(f"{descriptor.digest}: have {sink.offset} bytes, expected {descriptor.size}")


def get_small_blob(session: Session, descriptor: Descriptor, limit: int) -> bytes:
    """A blob held in memory (an image configuration), verified. Raises RegistryError, CorruptContent."""
    if descriptor.size > limit:
        raise InvalidArgument(f"{descriptor.digest} of {descriptor.size} bytes is larger than the limit of {limit}")
    buffer = _Buffer()
    get_blob(session, descriptor, buffer)
    raw = bytes(buffer.data)
    if digest_of(raw) != descriptor.digest:
        raise CorruptContent(f"verification failed for digest {descriptor.digest}")
    return raw


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Buffer:
    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def offset(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> None:
        self.data += data


def _get_part(session: Session, descriptor: Descriptor, sink: Sink, on_progress: OnProgress | None) -> None:
    start = sink.offset
    # identity: a body coded on the way would have other bytes than the digest was taken of
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    ok = frozenset({200, 206})
    with session.open("GET", f"blobs/{descriptor.digest}", headers=headers, ok=ok, retry=False) as response:
        skip = start - _start_of(response, session, descriptor)
        if skip < 0:
            raise RegistryError(f"{_name(session, descriptor)}: the answer begins behind what was asked for")
        for chunk in response.chunks():
            if skip:
                dropped = min(skip, len(chunk))
                chunk = chunk[dropped:]
                skip -= dropped
            if sink.offset + len(chunk) > descriptor.size:
                raise CorruptContent(f"{descriptor.digest}: more than the expected {descriptor.size} bytes")
            if chunk:
                sink.write(chunk)
                if on_progress is not None:
                    on_progress(sink.offset)


def _start_of(response: Response, session: Session, descriptor: Descriptor) -> int:
    if response.status != 206:
        return 0
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match is None:
        raise RegistryRefused(f"{_name(session, descriptor)}: partial answer without a valid range", status=502)
    return int(match.group(1)[:19])


def _name(session: Session, descriptor: Descriptor) -> str:
    return f'Get "{session.url(f"blobs/{descriptor.digest}")}"'
