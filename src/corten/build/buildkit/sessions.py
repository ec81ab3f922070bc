"""The clients whose sessions are open: a build asks them for files, secrets, agents and credentials. Daemon's loop.

A session is a connection on which the client serves gRPC and the daemon calls. It is known by the id that the client
chose, and by the methods that it says it serves. Source: BuildKit's session (POST /session).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from corten.build.buildkit.pulse import CHECK, RHYTHM, Rhythm, watch
from corten.errors import Conflict, InvalidArgument, ResourceExhausted
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.status import Code, GrpcError

_LOG = logging.getLogger("corten.build")
_MANY = 512
_ID_LIMIT = 256
_METHODS = 256
_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """One client's. `shared_key` is what trees of the same directory share from one build to the next; `methods` are
    `/package.Service/Method`, lower-case."""

    id: str
    name: str
    shared_key: str
    methods: frozenset[str]
    channel: Channel

    def offers(self, method: str) -> bool:
        """Whether the client serves `/package.Service/Method`."""
        return method.lower() in self.methods


class Sessions:
    """Those that are open; one a daemon."""

    def __init__(self, rhythm: Rhythm = RHYTHM) -> None:
        self._rhythm = rhythm
        self._open: dict[str, Session] = {}
        self._arrived: asyncio.Event | None = None

    def check(self, session_id: str, methods: Iterable[str]) -> None:
        """Whether a session with this id may begin. Raises InvalidArgument, Conflict, ResourceExhausted."""
        if not session_id or len(session_id) > _ID_LIMIT:
            raise InvalidArgument("a session needs an id of at most 256 characters")
        if sum(1 for _ in methods) > _METHODS:
            raise InvalidArgument("the session offers too many methods")
        if session_id in self._open:
            raise Conflict(f"session {session_id[:64]} already exists")
        if len(self._open) >= _MANY:
            raise ResourceExhausted("there are too many build sessions")

    async def keep(self, session: Session) -> None:
        """Have the session until its connection ends, or its client does not answer any more; cancelled, close it.
        Raises as `check`."""
        self.check(session.id, session.methods)
        self._open[session.id] = session
        if self._arrived is not None:
            self._arrived.set()
        pulse = asyncio.ensure_future(self._pulse(session))
        try:
            await session.channel.closed()
        finally:
            pulse.cancel()
            del self._open[session.id]
            session.channel.close()

    async def _pulse(self, session: Session) -> None:
        if session.offers(CHECK):
            await watch(session.channel, self._rhythm)
            _LOG.info("the client of a build session does not answer any more: %s", session.id[:64])
            session.channel.close()

    async def get(self, session_id: str) -> Session:
        """The session, waited for a moment: its connection may come behind the build's. Raises GrpcError."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while session_id not in self._open:
                    self._arrived = self._arrived if self._arrived and not self._arrived.is_set() else asyncio.Event()
                    await self._arrived.wait()
        except TimeoutError as error:
            raise GrpcError(
                Code.UNAVAILABLE, f"no active session for {session_id[:64]}: context deadline exceeded"
            ) from error
        return self._open[session_id]
