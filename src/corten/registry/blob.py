"""Bringing one blob: in order or in ranges side by side, from the first endpoint that can. Blocking; net threads.

The first request of a large blob asks for its first range; only a registry that answers with just that range (206) is
asked for others at the same time. A broken request is taken up where it ended. The size is exact at the end; the digest
is the sink's to check. Source: RFC 9110 section 14, OCI distribution-spec ("Pulling blobs").
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from corten.errors import CortenError, InvalidArgument
from corten.registry.errors import CorruptContent, RegistryError, RegistryRefused, RegistryUnreachable
from corten.registry.fetch import Buffer, OnProgress, Sink
from corten.registry.session import OnRetry, Session
from corten.registry.transport import Response
from corten.spec.digest import digest_of
from corten.spec.oci_image import Descriptor

RANGES_FROM = 32 << 20
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\Z")
_OK = frozenset({200, 206})


@runtime_checkable
class RangedSink(Sink, Protocol):
    """A sink that takes several ranges at once; thread-safe."""

    @property
    def arrived(self) -> int:
        """How many bytes are there in all."""

    def split(self, size: int) -> object:
        """Make ready for ranges of a blob of `size` bytes."""

    def claim(self) -> tuple[int, int] | None:
        """A missing range (start, end) for the caller alone."""

    def release(self, end: int) -> object:
        """Give the claim back that ends there, done or not."""

    def write_at(self, offset: int, data: bytes) -> object:
        """Store bytes of a claim, in order."""

    def offer(self, work: Callable[[], bool]) -> object:
        """Called once, when further threads may help: each call of `work` brings a range; False when none is left."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What one or more requests bring: up to `end`, from where it is already."""

    at: Callable[[], int]
    end: int
    write: Callable[[bytes], object]


class _RangesIgnored(Exception):
    """The answer is the whole blob, while others bring its ranges."""


class BlobFetch:
    """One blob on its way from registries to a sink; made for one transfer."""

    def __init__(
        self,
        sessions: Sequence[Session],
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._sessions = list(sessions)
        self._descriptor = descriptor
        self._sink = sink
        self._on_progress = on_progress
        self._on_retry = on_retry
        self._lock = threading.Condition()
        self._first = 0  # the endpoint to begin with: those before it have failed
        self._ordered = False  # ranges are not honoured: one request for all the rest
        self._offered = False
        self._working = 0
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Complete the sink. Raises RegistryError, CorruptContent, Cancelled, OSError of the sink."""
        sink, size = self._sink, self._descriptor.size
        if isinstance(sink, RangedSink) and size >= RANGES_FROM:
            sink.split(size)
            while self._bring_range(sink):
                pass
            self._wait_for_helpers()
        if sink.offset < size or size == 0:
            self._from_endpoints(_Stretch(lambda: sink.offset, size, sink.write))
        if sink.offset > size:
            raise CorruptContent(f"{self._descriptor.digest}: have {sink.offset} bytes, expected {size}")

    def _bring_range(self, sink: RangedSink) -> bool:
        """Bring the next missing range; False when there is none, or nobody may ask for ranges."""
        with self._lock:
            if self._failure is not None or self._ordered or (claim := sink.claim()) is None:
                return False
            self._working += 1
        start, end = claim
        position = start

        def write(data: bytes) -> None:
            nonlocal position
            if self._failure is not None:
                raise self._failure
            sink.write_at(position, data)
            position += len(data)

        try:
            self._from_endpoints(_Stretch(lambda: position, end, write))
        except _RangesIgnored:
            pass
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            raise
        finally:
            sink.release(end)
            with self._lock:
                self._working -= 1
                self._lock.notify_all()
        return True

    def _help(self) -> bool:
        """What is offered to further threads: errors are the main thread's to raise."""
        assert isinstance(self._sink, RangedSink)
        try:
            return self._bring_range(self._sink)
        except (CortenError, OSError):
            return False

    def _wait_for_helpers(self) -> None:
        with self._lock:
            while self._working:
                self._lock.wait()
            if self._failure is not None:
                raise self._failure

    def _from_endpoints(self, stretch: _Stretch) -> None:
        number = self._first
        while True:
            try:
                self._from(self._sessions[number], stretch)
            except RegistryError:
                number += 1
                if number == len(self._sessions):
                    raise
                with self._lock:
                    self._first = max(self._first, number)
                continue
            return

    def _from(self, session: Session, stretch: _Stretch) -> None:
        """All of a stretch from one endpoint."""

        def go_on() -> None:
            self._request(session, stretch)
            if stretch.at() < stretch.end:
                raise RegistryUnreachable(f"{self._name(session)}: unexpected EOF", transient=True)

        session.repeat(go_on, arrived=stretch.at, on_retry=self._on_retry)

    def _request(self, session: Session, stretch: _Stretch) -> None:
        start, size = stretch.at(), self._descriptor.size
        # identity: a body coded on the way would have other bytes than the digest was taken of
        headers = {"Accept-Encoding": "identity"}
        if start or stretch.end < size:
            headers["Range"] = f"bytes={start}-{stretch.end - 1 if stretch.end < size else ''}"
        path = f"blobs/{self._descriptor.digest}"
        try:
            response = session.open("GET", path, headers=headers, ok=_OK, retry=False)
        except RegistryRefused as error:
            if error.status != 416 or "Range" not in headers:
                raise
            del headers["Range"]  # something on the way knows no ranges, or the blob is shorter: that shows then
            response = session.open("GET", path, headers=headers, ok=_OK, retry=False)
        with response:
            self._take(session, response, stretch)

    def _take(self, session: Session, response: Response, stretch: _Stretch) -> None:
        size = self._descriptor.size
        position = self._extent(session, response)
        if position > stretch.at():
            raise RegistryError(f"{self._name(session)}: the answer begins behind what was asked for")
        if response.status == 200 and stretch.end < size:
            self._no_ranges()
            with suppress(RegistryUnreachable):  # what breaks off is asked for again, from the sink's end
                self._copy(response, 0, _Stretch(lambda: self._sink.offset, size, self._sink.write))
            raise _RangesIgnored
        if stretch.end < size:
            self._offer()
        self._copy(response, position, stretch)

    def _copy(self, response: Response, position: int, stretch: _Stretch) -> None:
        """The bytes of an answer that begins at `position`, up to the stretch's end."""
        size = self._descriptor.size
        for chunk in response.chunks():
            if position + len(chunk) > size:
                raise CorruptContent(f"{self._descriptor.digest}: more than the expected {size} bytes")
            fresh = chunk[max(stretch.at() - position, 0) : stretch.end - position]
            position += len(chunk)
            if fresh:
                stretch.write(fresh)
                if self._on_progress is not None:
                    self._on_progress(self._sink.arrived if isinstance(self._sink, RangedSink) else self._sink.offset)
            if position >= stretch.end < size:
                return

    def _extent(self, session: Session, response: Response) -> int:
        """Where the answer begins. Raises RegistryRefused, CorruptContent for a blob of another size."""
        if response.status != 206:
            return 0
        match = _RANGE.match(response.headers.get("Content-Range", ""))
        if match is None:
            raise RegistryRefused(f"{self._name(session)}: partial answer without a valid range", status=502)
        if match.group(3) not in {"*", str(self._descriptor.size)}:
            size = self._descriptor.size
            raise CorruptContent(f"{self._descriptor.digest}: have {match.group(3)} bytes, expected {size}")
        return int(match.group(1))

    def _no_ranges(self) -> None:
        """The endpoint gives the whole blob: that answer is used, if nobody else is at work on ranges."""
        with self._lock:
            self._ordered = True
            if self._offered:
                raise _RangesIgnored

    def _offer(self) -> None:
        with self._lock:
            first, self._offered = not self._offered, True
        if first and isinstance(self._sink, RangedSink):
            self._sink.offer(self._help)

    def _name(self, session: Session) -> str:
        return f'Get "{session.url(f"blobs/{self._descriptor.digest}")}"'


def get_small_blob(session: Session, descriptor: Descriptor, limit: int) -> bytes:
    """A blob held in memory (an image configuration), verified. Raises RegistryError, CorruptContent."""
    if descriptor.size > limit:
        raise InvalidArgument(f"{descriptor.digest} of {descriptor.size} bytes is larger than the limit of {limit}")
    buffer = Buffer()
    BlobFetch([session], descriptor, buffer).run()
    raw = buffer.content()
    if digest_of(raw) != descriptor.digest:
        raise CorruptContent(f"verification failed for digest {descriptor.digest}")
    return raw
