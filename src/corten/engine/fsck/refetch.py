"""Gets a blob again that is damaged or gone, from where its image was pulled. Blocking; net threads.

The damaged one stays until a right one takes its place, which is a rename.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corten.engine.fsck.needs import Need
from corten.engine.images.content import ImageContent
from corten.engine.images.sources import RegistrySource, verified_manifest
from corten.errors import CortenError, DataLoss
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.errors import RegistryRefused
from corten.spec.reference import Reference


class Lost(DataLoss):
    """Nobody has the blob any more: who was asked said so, or there is nobody to ask."""

    code = "content-lost"


class Refetcher:
    """Fetches by the names of the images that need a blob."""

    def __init__(self, *, content: ImageContent, client: RegistryClient) -> None:
        self._content = content
        self._client = client

    def fetch(
        self, need: Need, names: Sequence[Reference], credentials: Mapping[str, Credentials], cancel: Cancel
    ) -> Reference:
        """Have the blob, right; returns the name it came by. Raises Lost, RegistryError, DiskFull."""
        failure: CortenError = Lost("its image was made here, or has lost its name: no registry is known to have it")
        if need.descriptor is None:
            raise Lost("the document that describes it is damaged, too")
        for name in names:
            sessions = self._client.sessions(name, credentials=credentials.get(name.domain, ANONYMOUS), cancel=cancel)
            try:
                self._fetch(need, RegistrySource(sessions))
            except CortenError as error:
                gone = isinstance(error, RegistryRefused) and error.status == 404
                if not gone or isinstance(failure, Lost):
                    failure = Lost(f"{name.domain} does not have it any more") if gone else error
                continue
            return name
        raise failure

    def _fetch(self, need: Need, source: RegistrySource) -> None:
        descriptor = need.descriptor
        assert descriptor is not None
        if need.is_document:
            self._content.replace_blob(verified_manifest(source, descriptor).raw)
            return
        with self._content.scratch() as ingest:
            source.blob(descriptor, ingest)
            ingest.commit(descriptor.digest, descriptor.size)
