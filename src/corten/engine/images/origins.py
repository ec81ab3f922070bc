"""Which repositories are known to hold a blob, so that a push to the same registry can mount it. Daemon; threads.

Learnt from pulls and pushes that came to their end, kept over restarts, and never more than a hint: a registry that
does not know the blob there is sent it. What tells of blobs that are here no more is dropped at the first use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from corten.engine.images.stores import Records
from corten.errors import InvalidArgument
from corten.lib import codec
from corten.spec import reference as references
from corten.spec.reference import Reference

_MOST = 8


class BlobOrigins:
    """Repositories by digest, the latest first; thread-safe. `is_here` tells whether a blob is in the store."""

    def __init__(self, records: Records, is_here: Callable[[str], bool]) -> None:
        self._records = records
        self._is_here = is_here
        self._lock = threading.Lock()
        self._known: dict[str, list[str]] | None = None

    def note(self, digests: Iterable[str], repository: Reference) -> None:
        """These blobs are in `repository`."""
        with self._lock:
            known, changed = self._load(), {}
            for digest in dict.fromkeys(digests):
                names = known.get(digest, [])
                if names[:1] != [repository.name]:
                    changed[digest] = [repository.name, *(name for name in names if name != repository.name)][:_MOST]
            if changed:
                self._records.put_all({digest: codec.encode(names) for digest, names in changed.items()})
                known.update(changed)

    def others(self, digest: str, target: Reference, *, most: int) -> list[str]:
        """Paths of other repositories of `target`'s registry that hold the blob."""
        with self._lock:
            names = [references.parse(name) for name in self._load().get(digest, [])]
        return [name.path for name in names if name.domain == target.domain and name.path != target.path][:most]

    def _load(self) -> dict[str, list[str]]:
        if self._known is None:
            self._known = {}
            for digest, raw in list(self._records.list()):
                try:
                    names = codec.decode(list[str], raw)
                    parsed = [references.parse(name) for name in names]
                except InvalidArgument:
                    parsed = []
                if parsed and self._is_here(digest):
                    self._known[digest] = names
                else:
                    self._records.delete(digest)
        return self._known
