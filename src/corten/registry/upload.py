"""Sending one blob: a small one in one request, a large one in chunks, taken up after a cut. Blocking; net threads.

Source: OCI distribution-spec ("Pushing blobs": POST then PUT, "Pushing a blob in chunks", "Resuming an upload": GET on
the upload's location tells how much is there). A registry that refuses chunks gets the blob whole. After a failure the
registry is asked whether it has the blob: the answer to the last request may be what was lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import BinaryIO
from urllib.parse import quote

from corten.registry.errors import RegistryError, RegistryRefused
from corten.registry.fetch import OnProgress
from corten.registry.session import OnRetry, Session
from corten.registry.transport import Response
from corten.registry.urls import join
from corten.spec.oci_image import Descriptor

CHUNK = 16 << 20
_PIECE = 64 << 10
_CREATED = frozenset({201})
_ACCEPTED = frozenset({202})
_STATUS = frozenset({200, 202, 204})
_REFUSED = frozenset({400, 404, 405, 411, 413, 415, 416, 501})
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z")


class BlobUpload:
    """One blob on its way to a registry; `location` is an upload that the registry has opened already."""

    def __init__(
        self,
        session: Session,
        descriptor: Descriptor,
        source: Callable[[], BinaryIO],
        *,
        location: str = "",
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._session = session
        self._descriptor = descriptor
        self._source = source
        self._location = location
        self._on_progress = on_progress
        self._on_retry = on_retry
        self._begun = False
        self._offset = 0  # what the registry has confirmed
        self._chunk = CHUNK

    def run(self) -> None:
        """Have the blob there. Raises RegistryError, Cancelled, OSError of the source."""
        self._session.repeat(self._go_on, arrived=lambda: self._offset, on_retry=self._on_retry)

    def _go_on(self) -> None:
        if self._begun:
            if has_blob(self._session, self._descriptor.digest):
                return
            self._find_offset()
        self._begun = True
        self._upload()

    def _upload(self) -> None:
        if not self._location:
            self._open()
        size = self._descriptor.size
        while self._offset < size and size > self._chunk and not self._session.whole_uploads:
            self._send_chunk()
        if not self._location:
            self._open()
        self._finish()

    def _open(self) -> None:
        headers = {"Content-Length": "0"}
        with self._session.open("POST", "blobs/uploads/", headers=headers, body=b"", ok=_ACCEPTED) as response:
            response.body()
            self._offset = 0
            self._location = location_of(response)
            shortest = response.headers.get("OCI-Chunk-Min-Length", "")
            if shortest.isascii() and shortest.isdigit():
                self._chunk = max(CHUNK, int(shortest[:12]))
        if not self._location:
            raise RegistryError(f'Post "{response.url}": the registry named no place to upload to')

    def _send_chunk(self) -> None:
        start = self._offset
        end = min(start + self._chunk, self._descriptor.size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - start),
            "Content-Range": f"{start}-{end - 1}",
        }
        body = self._reader(start, end)
        try:
            with self._session.open("PATCH", self._location, headers=headers, body=body, ok=_ACCEPTED) as response:
                response.body()
                self._location = location_of(response) or self._location
                self._offset = min(_confirmed(response, end), end)
        except RegistryRefused as error:
            if start or error.status not in _REFUSED:
                raise
            abandon(self._session, self._location)
            self._session.whole_uploads, self._location = True, ""

    def _finish(self) -> None:
        """What is not there yet, and the digest."""
        start, size = self._offset, self._descriptor.size
        separator = "&" if "?" in self._location else "?"
        target = f"{self._location}{separator}digest={quote(self._descriptor.digest, safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size - start)}
        if start:
            body: Callable[[], Iterable[bytes]] | bytes = b"" if start == size else self._reader(start, size)
        else:
            body = self._reader(0, size)
        with self._session.open("PUT", target, headers=headers, body=body, ok=_CREATED) as response:
            response.body()

    def _find_offset(self) -> None:
        """Ask how much has arrived; an upload that the registry does not know any more is begun anew."""
        location, self._location, self._offset = self._location, "", 0
        if not location or self._session.whole_uploads or self._descriptor.size <= self._chunk:
            return
        try:
            with self._session.open("GET", location, ok=_STATUS) as response:
                there = _confirmed(response, -1)
                if 0 <= there <= self._descriptor.size:
                    self._location, self._offset = location_of(response) or location, there
        except RegistryRefused as error:
            if error.transient:
                self._location = location
                raise

    def _reader(self, start: int, end: int) -> Callable[[], Iterable[bytes]]:
        def read() -> Iterable[bytes]:
            position = start
            with self._source() as file:
                file.seek(start)
                while position < end and (piece := file.read(min(_PIECE, end - position))):
                    self._session.cancel.check()
                    yield piece
                    position += len(piece)
                    if self._on_progress is not None:
                        self._on_progress(position)

        return read


def has_blob(session: Session, digest: str) -> bool:
    """Whether the repository holds the blob already."""
    try:
        with session.open("HEAD", f"blobs/{digest}"):
            return True
    except RegistryRefused as error:
        if error.status == 404:
            return False
        raise


def abandon(session: Session, location: str) -> None:
    """Tell the registry that an upload it opened will not come; it would expire by itself."""
    if location:
        try:
            with session.open("DELETE", location, ok=frozenset({200, 202, 204})):
                pass
        except RegistryError:
            return


def location_of(response: Response) -> str:
    """The whole URL in an answer's Location; empty when there is none. Raises RegistryError for what is no URL."""
    location = response.headers.get("Location", "")
    return join(response.url, location) if location else ""


def _confirmed(response: Response, otherwise: int) -> int:
    """How many bytes the registry says it has. `0-0` stands for none: for one it is no loss to send that again."""
    match = _RANGE.match(response.headers.get("Range", ""))
    if match is None:
        return otherwise
    return int(match[1]) + 1 if match[1] != "0" else 0
