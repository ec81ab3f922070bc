"""Content digests `sha256:<64 hex>` and what is computed with them. Pure; daemon and tests.

Source: OCI image-spec, descriptor.md ("Digests") and config.md ("Layer DiffID", "Layer ChainID"). Only sha256 is taken:
it is the algorithm every registry uses, and the content store names blobs by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NewType

from corten.errors import DataLoss, InvalidArgument

Digest = NewType("Digest", str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ANY_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}\Z")
SHORT = 12


def is_digest(text: str) -> bool:
    """Whether `text` is a digest this engine can check."""
    return _DIGEST.match(text) is not None


def parse_digest(text: str) -> Digest:
    """`text` as a digest. Raises InvalidArgument with Docker's wording."""
    if _DIGEST.match(text):
        return Digest(text)
    if _ANY_DIGEST.match(text) and not text.startswith("sha256:"):
        raise InvalidArgument("unsupported digest algorithm")
    raise InvalidArgument("invalid checksum digest length" if text.startswith("sha256:") else "invalid digest format")


def digest_of(data: bytes | memoryview) -> Digest:
    """The sha256 digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def hex_of(digest: str) -> str:
    """The hexadecimal part."""
    return digest.partition(":")[2]


def short(digest: str) -> str:
    """The first 12 hexadecimal digits, as Docker shows ids."""
    return hex_of(digest)[:SHORT] if ":" in digest else digest[:SHORT]


def chain_ids(diff_ids: Iterable[str]) -> list[Digest]:
    """The chainID of each layer of a stack, lowest first (config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest(diff_id) if not chain else digest_of(f"{chain[-1]} {diff_id}".encode()))
    return chain


class Verifier:
    """Counts and hashes bytes as they pass, and says at the end whether they are the expected ones."""

    def __init__(self, digest: str, size: int | None = None) -> None:
        self._digest = parse_digest(digest)
        self._expected = size
        self._hash = hashlib.sha256()
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes. Raises DataLoss at once when there are more than expected."""
        self.size += len(data)
        if self._expected is not None and self.size > self._expected:
            raise DataLoss(f"{self._digest}: more than the expected {self._expected} bytes")
        self._hash.update(data)

    def finish(self) -> None:
        """Raise DataLoss unless size and digest are as expected."""
        if self._expected is not None and self.size != self._expected:
            raise DataLoss(f"{self._digest}: got {self.size} bytes, expected {self._expected}")
        actual = "sha256:" + self._hash.hexdigest()
        if actual != self._digest:
            raise DataLoss(f"filesystem layer verification failed for digest {self._digest}: content is {actual}")
