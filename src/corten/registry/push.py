"""Sending blobs and manifests: asked for first, mounted from another repository where it can be, else uploaded.

Blocking; net threads. Source: OCI distribution-spec ("Pushing blobs": POST then PUT; "Mounting a blob from
another repository"; "Pushing manifests").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO
from urllib.parse import quote, urljoin

from corten.registry.errors import CorruptContent, RegistryError, RegistryRefused
from corten.registry.fetch import OnProgress
from corten.registry.session import OnRetry, Session
from corten.spec.digest import Digest, digest_of, is_digest
from corten.spec.oci_image import Descriptor

_CHUNK = 256 << 10
_CREATED = frozenset({201})
_ACCEPTED = frozenset({201, 202})


def has_blob(session: Session, digest: str) -> bool:
    """Whether the repository holds the blob already."""
    try:
        with session.open("HEAD", f"blobs/{digest}"):
            return True
    except RegistryRefused as error:
        if error.status == 404:
            return False
        raise


def mount_blob(session: Session, digest: str, source: str) -> bool:
    """Have the registry take the blob over from repository `source`; False when it does not."""
    path = f"blobs/uploads/?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
    try:
        with session.open("POST", path, headers={"Content-Length": "0"}, body=b"", ok=_ACCEPTED) as response:
            if response.status == 201:
                return True
            location = urljoin(response.url, response.headers.get("Location", ""))
    except RegistryRefused as error:
        if error.status in {400, 401, 403, 404, 405}:
            return False
        raise
    _abandon(session, location)
    return False


def upload_blob(
    session: Session,
    descriptor: Descriptor,
    source: Callable[[], BinaryIO],
    *,
    on_progress: OnProgress | None = None,
    on_retry: OnRetry | None = None,
) -> None:
    """Upload the blob that `source` opens, repeated from its start after a transient failure. Raises RegistryError."""
    session.repeat(
        lambda: _upload(session, descriptor, source, on_progress),
        attempts=session.timings.attempts,
        on_retry=on_retry,
    )


def put_manifest(session: Session, tag_or_digest: str, raw: bytes, media_type: str) -> Digest:
    """Store a manifest under a tag or its digest. Raises RegistryError; CorruptContent when another one was stored."""
    headers = {"Content-Type": media_type}

    def put() -> str:
        with session.open("PUT", f"manifests/{tag_or_digest}", headers=headers, body=raw, ok=_CREATED) as response:
            response.body()
            return response.headers.get("Docker-Content-Digest", "")

    stored = session.repeat(put, attempts=session.timings.attempts)
    digest = digest_of(raw)
    if is_digest(stored) and stored != digest:
        raise CorruptContent(f"the registry stored the manifest {digest} as {stored}")
    return digest


def _upload(
    session: Session, descriptor: Descriptor, source: Callable[[], BinaryIO], on_progress: OnProgress | None
) -> None:
    headers = {"Content-Length": "0"}
    with session.open("POST", "blobs/uploads/", headers=headers, body=b"", ok=frozenset({202})) as response:
        response.body()
        location = response.headers.get("Location", "")
        if not location:
            raise RegistryError(f'Post "{response.url}": the registry named no place to upload to')
        target = urljoin(response.url, location)
    target += f"{'&' if '?' in target else '?'}digest={quote(descriptor.digest, safe='')}"
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)}
    body = _reader(session, source, on_progress)
    with session.open("PUT", target, headers=headers, body=body, ok=_CREATED) as response:
        response.body()


def _reader(
    session: Session, source: Callable[[], BinaryIO], on_progress: OnProgress | None
) -> Callable[[], Iterable[bytes]]:
    def read() -> Iterable[bytes]:
        sent = 0
        with source() as file:
            while chunk := file.read(_CHUNK):
                session.cancel.check()
                yield chunk
                sent += len(chunk)
                if on_progress is not None:
                    on_progress(sent)

    return read


def _abandon(session: Session, location: str) -> None:
    """Tell the registry that an upload it opened will not come; it would expire by itself."""
    if location:
        try:
            with session.open("DELETE", location, ok=frozenset({200, 202, 204})):
                pass
        except RegistryError:
            return
