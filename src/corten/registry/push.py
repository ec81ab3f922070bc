"""Manifests, and blobs that a registry takes over from another repository. Blocking; net threads. Uploads: `upload`.

Source: OCI distribution-spec ("Mounting a blob from another repository", "Pushing manifests").
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from corten.registry.errors import CorruptContent, RegistryRefused
from corten.registry.session import Session
from corten.registry.upload import location_of
from corten.spec.digest import Digest, digest_of, is_digest

_CREATED = frozenset({201})
_ACCEPTED = frozenset({201, 202})


@dataclass(frozen=True, slots=True)
class Mount:
    """Whether a registry took a blob over; if not, it may have opened an upload instead."""

    done: bool
    upload: str = ""


def mount_blob(session: Session, digest: str, source: str) -> Mount:
    """Have the registry take the blob over from repository `source`. Raises RegistryError."""
    path = f"blobs/uploads/?mount={quote(digest, safe='')}&from={quote(source, safe='')}"

    def mount() -> Mount:
        reading = session.also_reading(source)
        with reading.open("POST", path, headers={"Content-Length": "0"}, body=b"", ok=_ACCEPTED) as response:
            response.body()
            return Mount(True) if response.status == 201 else Mount(False, location_of(response))

    try:
        return session.repeat(mount)
    except RegistryRefused as error:
        if error.status in {400, 401, 403, 404, 405}:
            return Mount(False)
        raise


def put_manifest(session: Session, tag_or_digest: str, raw: bytes, media_type: str) -> Digest:
    """Store a manifest under a tag or its digest. Raises RegistryError; CorruptContent when another one was stored."""
    headers = {"Content-Type": media_type}

    def put() -> str:
        with session.open("PUT", f"manifests/{tag_or_digest}", headers=headers, body=raw, ok=_CREATED) as response:
            response.body()
            return response.headers.get("Docker-Content-Digest", "")

    stored = session.repeat(put)
    digest = digest_of(raw)
    if is_digest(stored) and stored != digest:
        raise CorruptContent(f"the registry stored the manifest {digest} as {stored}")
    return digest
