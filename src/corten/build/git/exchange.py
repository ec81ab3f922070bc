"""Ways to a git server: smart HTTP, and git's own TCP service (ssh is in ssh.py). Blocking; net threads.

Sources: gitprotocol-http(5), gitprotocol-pack(5). All connect by the engine's policy only. There is no file, ext or
dumb transport: a URL of another scheme is refused before anything is done.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from corten.build.git.error import GitError
from corten.build.git.packets import FLUSH, PacketReader, packet
from corten.registry.cancel import Cancel
from corten.registry.endpoint import Endpoint
from corten.registry.errors import RegistryUnreachable
from corten.registry.guarded_dial import dial
from corten.registry.inward import InwardPolicy
from corten.registry.timings import Timings
from corten.registry.transport import Response, Transport

_SERVICE = "git-upload-pack"
_DISCOVERY = f"/info/refs?service={_SERVICE}"
_DISCOVERED = f"application/x-{_SERVICE}-advertisement"
_ANSWER = f"application/x-{_SERVICE}-result"
_PORT = 9418
_CHUNK = 256 << 10


class Exchange(Protocol):
    """A conversation with a server about one repository; a context manager."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""

    def greeting(self) -> PacketReader:
        """What the server says first. Raises GitError, RegistryError, InwardRefused, OSError."""

    def ask(self, request: bytes) -> PacketReader:
        """The answer to a request. Raises as `greeting`."""


class HttpExchange:
    """Over HTTP: each request is one of its own. `authorization` goes to this server alone."""

    def __init__(self, transport: Transport, remote: str, authorization: str, cancel: Cancel) -> None:
        self._transport = transport
        self._base = remote
        self._headers = {"Git-Protocol": "version=2", **({"Authorization": authorization} if authorization else {})}
        self._cancel = cancel
        self._response: Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def greeting(self) -> PacketReader:
        """GET info/refs; where it leads elsewhere, that is asked from then on."""
        response = self._request("GET", self._base + _DISCOVERY, {}, None)
        if response.headers.get("Content-Type") != _DISCOVERED:
            raise GitError("the server does not speak git's smart HTTP protocol, which is the only one supported here")
        if response.url != self._base + _DISCOVERY:
            self._redirected(response.url)
        reader = PacketReader(response.chunks())
        first = reader.read()
        if first == f"# service={_SERVICE}\n".encode():  # which version 2 may leave out
            reader.read()
        elif isinstance(first, bytes):
            reader.put_back(first)
        return reader

    def _redirected(self, url: str) -> None:
        if not url.endswith(_DISCOVERY):
            raise GitError("the server redirects to something that is no repository")
        old, base = urlsplit(self._base), url.removesuffix(_DISCOVERY)
        new = urlsplit(base)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            self._headers.pop("Authorization", None)
        self._base = base

    def ask(self, request: bytes) -> PacketReader:
        """POST git-upload-pack."""
        headers = {"Content-Type": f"application/x-{_SERVICE}-request", "Accept": _ANSWER}
        response = self._request("POST", f"{self._base}/{_SERVICE}", headers, request)
        if response.headers.get("Content-Type") != _ANSWER:
            raise GitError("the server does not speak git's smart HTTP protocol")
        return PacketReader(response.chunks(_CHUNK))

    def _request(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Response:
        self._close()
        endpoint = Endpoint(host=urlsplit(url).netloc)
        self._response = response = self._transport.request(
            method, url, endpoint=endpoint, headers={**self._headers, **headers}, cancel=self._cancel, body=body
        )
        if response.status in (401, 403):
            raise GitError("authentication failed: the repository does not exist, or asks for credentials")
        if response.status == 404:
            raise GitError("repository not found")
        if response.status != 200:
            raise GitError(f"the server answers with status {response.status}")
        return response


class TcpExchange:
    """git://: one connection, on which the requests follow each other."""

    def __init__(self, policy: InwardPolicy, remote: str, timings: Timings, cancel: Cancel) -> None:
        parts = urlsplit(remote)
        self._policy = policy
        self._host, self._port = parts.hostname or "", parts.port or _PORT
        self._netloc, self._path = parts.netloc, parts.path
        self._timings = timings
        self._cancel = cancel
        self._socket: socket.socket | None = None
        self._reader: PacketReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendall(FLUSH)  # nothing more is wanted
            self._socket.close()

    def greeting(self) -> PacketReader:
        """Connect, and name the repository."""
        self._cancel.check()
        try:
            self._socket = sock = dial(self._policy, self._host, self._port, self._timings.connect_s)
        except OSError as error:
            reason = error.strerror or str(error)
            raise RegistryUnreachable(f"dial tcp {self._host}:{self._port}: {reason.lower()}") from error
        sock.settimeout(self._timings.stall_s)
        path = self._path.encode("utf-8", "surrogateescape")
        self._reader = PacketReader(self._chunks(sock))
        return self._say(packet(b"%s %s\0host=%s\0\0version=2\0" % (_SERVICE.encode(), path, self._netloc.encode())))

    def ask(self, request: bytes) -> PacketReader:
        """Send it, and read on."""
        return self._say(request)

    def _say(self, data: bytes) -> PacketReader:
        assert self._socket is not None
        assert self._reader is not None
        with self._cancel.interrupting(self._wake):
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise self._broken(error) from error
        return self._reader

    def _broken(self, error: OSError) -> GitError:
        """What to raise for a connection that ended. Raises Cancelled when it was this end's doing."""
        self._cancel.check()
        if isinstance(error, TimeoutError):
            return GitError(f"the server is silent since {self._timings.stall_s:.0f} s")
        return GitError(f"the connection broke: {(error.strerror or str(error)).lower()}")

    def _chunks(self, sock: socket.socket) -> Iterator[bytes]:
        waited, came = 0.0, 0
        with self._cancel.interrupting(self._wake):
            while True:
                begun = time.monotonic()
                try:
                    data = sock.recv(_CHUNK)
                except OSError as error:
                    raise self._broken(error) from error
                self._cancel.check()
                if not data:
                    return
                # only the wait counts: who takes the bytes may be slow, too
                waited, came = waited + time.monotonic() - begun, came + len(data)
                if waited >= self._timings.stall_s:
                    if came < waited * self._timings.floor_bytes:
                        raise GitError(f"the server sent only {came} bytes in {waited:.0f} s")
                    waited, came = 0.0, 0
                yield data

    def _wake(self) -> None:
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
