"""What a buildx client offers to a build: secrets, agents, credentials, asked for when they are needed. Daemon's loop.

Nothing of it is kept here. Sources: BuildKit's session/secrets, session/sshforward and session/auth (their .proto).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated

from corten.build.session.client import BytesMessage, Client, Stream
from corten.errors import NotFound
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.message import Message
from corten.lib.protobuf.wire import decode, encode
from corten.registry.credentials import ANONYMOUS, Credentials

_GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105 - a method's name
_CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD_AGENT = "/moby.sshforward.v1.SSH/ForwardAgent"
_CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
_HUB_KEYS = frozenset({"docker.io", "https://index.docker.io/v1/"})
_HUB = "registry-1.docker.io"  # what clients know the hub's credentials by
_PIECE = 32 << 10
_NOT_HERE = (Code.NOT_FOUND, Code.UNIMPLEMENTED)


class _SecretRequest(Message):
    id: Annotated[str, 1] = ""


class _Secret(Message):
    data: Annotated[bytes, 1] = b""


class _AgentRequest(Message):
    id: Annotated[str, 1] = ""


class _Nothing(Message):
    pass


class _CredentialsRequest(Message):
    host: Annotated[str, 1] = ""


class _Credentials(Message):
    username: Annotated[str, 1] = ""
    secret: Annotated[str, 2] = ""


class SessionOffers:
    """Those of one session."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def secret(self, name: str) -> bytes | None:
        """A secret's value. Raises GrpcError when the client cannot read it."""
        if not self._client.offers(_GET_SECRET):
            return None
        try:
            return (await self._client.call(_GET_SECRET, _SecretRequest(id=name), _Secret)).data
        except GrpcError as error:
            if error.status in _NOT_HERE:
                return None
            raise

    async def agent(self, name: str) -> SessionAgent | None:
        """A connection to an agent. Raises NotFound, with the client's words, for one that it does not know."""
        if not self._client.offers(_FORWARD_AGENT):
            return None
        try:
            await self._client.call(_CHECK_AGENT, _AgentRequest(id=name), _Nothing)
        except GrpcError as error:
            if error.status == Code.UNIMPLEMENTED:
                return None
            raise NotFound(error.message) from error
        return await SessionAgent.open(self._client, name)

    async def credentials(self, keys: Sequence[str]) -> Credentials:
        """Those that the client has for a registry, under one of its names."""
        if not self._client.offers(_CREDENTIALS):
            return ANONYMOUS
        for host in dict.fromkeys(_HUB if key in _HUB_KEYS else key for key in keys if _is_host(key)):
            found = await self._ask(host)
            if found:
                return found
        return ANONYMOUS

    async def _ask(self, host: str) -> Credentials:
        try:
            found = await self._client.call(_CREDENTIALS, _CredentialsRequest(host=host), _Credentials)
        except GrpcError as error:
            if error.status in _NOT_HERE:
                return ANONYMOUS
            raise
        if found.secret and not found.username:
            return Credentials(identity_token=found.secret)
        return Credentials(username=found.username, password=found.secret)


def _is_host(key: str) -> bool:
    """Clients look hosts up, not the URLs that a credentials file may have instead."""
    return key in _HUB_KEYS or "/" not in key


class SessionAgent:
    """One connection to an agent of the client's."""

    def __init__(self, stream: Stream, closing: AsyncExitStack) -> None:
        self._stream = stream
        self._closing = closing

    @classmethod
    async def open(cls, client: Client, name: str) -> SessionAgent:
        """A new one. Raises GrpcError."""
        async with AsyncExitStack() as closing:
            stream = await closing.enter_async_context(client.stream(_FORWARD_AGENT, [("buildkit.ssh.id", name)]))
            return cls(stream, closing.pop_all())

    async def read(self) -> bytes:
        """What the agent says next; empty at the end."""
        while (message := await self._stream.receive_bytes()) is not None:
            if data := decode(BytesMessage, message).data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        """Say something to it."""
        for start in range(0, len(data), _PIECE):
            await self._stream.send_bytes(encode(BytesMessage(data=data[start : start + _PIECE])))

    async def close(self) -> None:
        """Hang up; again is fine."""
        await self._closing.aclose()
