"""One plugin: HTTP POST with JSON, a connection a call. Daemon only, on the loop; nothing here blocks.

A plugin is a stranger: it may be away, hang, answer with garbage or without end. Each call has a time for the
connection, with tries that grow further apart, and one for the answer; an answer has a greatest size and a type.
Source: Docker's plugin API (`/Plugin.Activate`, the media type, `Err`) and libnetwork's docs/remote.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httptools
import msgspec

from corten import errors
from corten.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from corten.lib import codec
from corten.network.plugins.discovery import Address, PluginFolders

_LOG = logging.getLogger("corten.plugins")
_MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json"
_MAX_ANSWER = 1 << 20
_READ_BYTES = 65536
T = TypeVar("T")


class PluginNotFound(NotFound):
    """No socket and no specification of this name."""

    code = "plugin-not-found"


class PluginRefused(ResourceExhausted):
    """The plugin understood and says no; the text is its own, the status 500 as Docker's."""

    code = "plugin-refused"


class MethodUnknown(errors.NotImplemented):
    """The plugin does not know the method: an older one, or one that has no need of it."""

    code = "plugin-method-unknown"


class PluginFailed(Unavailable):
    """The plugin is not there, is silent, or says what cannot be."""

    code = "plugin-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a plugin may take, in seconds: to be there (it may be starting), and to answer."""

    connect_s: float = 15.0
    answer_s: float = 30.0
    first_pause_s: float = 0.1


class _Manifest(msgspec.Struct):
    implements: list[str] = msgspec.field(name="Implements", default_factory=list)


class _Error(msgspec.Struct):
    text: str = msgspec.field(name="Err", default="")


class _Answer:
    """What httptools calls."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.begun = False
        self.complete = False

    def on_headers_complete(self) -> None:
        """The status is known."""
        self.begun = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """The end."""
        self.complete = True


class Plugin:
    """A plugin by its name; found and activated at the first call that needs it."""

    def __init__(self, name: str, folders: PluginFolders, patience: Patience) -> None:
        self.name = name
        self._folders = folders
        self._patience = patience
        self._implements: frozenset[str] | None = None

    def exists(self) -> bool:
        """Whether there is a socket or a specification of this name now."""
        return self._folders.has(self.name)

    async def call(self, method: str, body: Mapping[str, Any], answer: type[T]) -> T:
        """`Interface.Method`: ask, after activation. Raises PluginNotFound, PluginRefused, PluginFailed,
        MethodUnknown."""
        interface = method.partition(".")[0]
        if self._implements is None:
            manifest = await self._exchange("Plugin.Activate", None, _Manifest)
            self._implements = frozenset(manifest.implements)
        if interface not in self._implements:
            offered = ", ".join(sorted(self._implements)) or "nothing"
            self._implements = None  # another one may stand there next time
            raise PluginNotFound(f'plugin "{self.name}" does not implement {interface} (it offers {offered[:128]})')
        return await self._exchange(method, body, answer)

    async def _exchange(self, method: str, body: Mapping[str, Any] | None, answer: type[T]) -> T:
        reader, writer = await self._connect(method)
        try:
            async with asyncio.timeout(self._patience.answer_s):
                writer.write(_request(self.name, method, b"" if body is None else codec.encode(body)))
                await writer.drain()
                status, raw = await self._read(method, reader)
        except TimeoutError:
            raise self._failed(method, f"no answer within {self._patience.answer_s:g} s") from None
        except OSError as error:
            raise self._failed(method, str(error)) from error
        finally:
            writer.close()
        return self._understand(method, status, raw, answer)

    async def _connect(self, method: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Try until it is there, ever further apart."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience.connect_s
        pause = self._patience.first_pause_s
        while True:
            try:
                address = self._folders.find(self.name)
                if address is None:
                    raise PluginNotFound(f'plugin "{self.name[:64]}" not found')
                async with asyncio.timeout_at(deadline):
                    return await _open(address)
            except (OSError, PluginNotFound) as error:  # TimeoutError is an OSError
                if loop.time() + pause > deadline:
                    if isinstance(error, PluginNotFound):
                        raise
                    raise self._failed(method, f"cannot connect: {error}") from error
                _LOG.info("plugin %s cannot be reached: %s; again in %g s", self.name, error, pause)
            await asyncio.sleep(pause)
            pause *= 2

    async def _read(self, method: str, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        received = 0
        try:
            while not answer.complete:
                data = await reader.read(_READ_BYTES)
                received += len(data)
                if received > _MAX_ANSWER:
                    raise self._failed(method, f"its answer is longer than {_MAX_ANSWER} bytes")
                if not data:
                    break  # with neither a length nor chunks the end of the stream is that of the body
                parser.feed_data(data)
            if not answer.begun:
                raise self._failed(method, "it closed the connection without an answer")
            return parser.get_status_code(), bytes(answer.body)
        except httptools.HttpParserError as error:
            raise self._failed(method, f"its answer is no HTTP: {error}") from error

    def _understand(self, method: str, status: int, raw: bytes, answer: type[T]) -> T:
        if status == 404:
            raise MethodUnknown(f'plugin "{self.name}" does not know {method}')
        try:
            said = codec.decode(_Error, raw).text if raw.strip() else ""
        except InvalidArgument as error:
            if status == 200:
                raise self._failed(method, str(error)) from error
            said = raw[:1024].decode("utf-8", "replace").strip()
        if status != 200 or said:
            raise PluginRefused(f'plugin "{self.name}": {method}: {said[:1024] or f"HTTP status {status}"}')
        try:
            return codec.decode(answer, raw.strip() or b"{}")
        except InvalidArgument as error:
            raise self._failed(method, str(error)) from error

    def _failed(self, method: str, what: str) -> PluginFailed:
        return PluginFailed(f'plugin "{self.name}": {method}: {what}')


class Plugins:
    """All plugins of a daemon, each made when it is first asked for."""

    def __init__(self, folders: PluginFolders, patience: Patience) -> None:
        self._folders = folders
        self._patience = patience
        self._known: dict[str, Plugin] = {}

    def get(self, name: str) -> Plugin:
        """The plugin of this name, there or not."""
        if name not in self._known:
            self._known[name] = Plugin(name, self._folders, self._patience)
        return self._known[name]

    def exists(self, name: str) -> bool:
        """Whether one of this name can be found now."""
        return self._folders.has(name)


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)


def _request(host: str, method: str, body: bytes) -> bytes:
    head = (
        f"POST /{method} HTTP/1.1\r\nHost: {host}\r\nAccept: {_MEDIA_TYPE}\r\nContent-Type: {_MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
