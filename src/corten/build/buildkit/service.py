"""BuildKit's API on connections that the HTTP server hands over: POST /grpc and POST /session. Daemon's loop."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from corten.build.buildkit.control import Control
from corten.build.buildkit.gateway import Gateway
from corten.build.buildkit.history.calls import HistoryCalls
from corten.build.buildkit.sessions import Session, Sessions
from corten.build.buildkit.tunnel import tunnelled
from corten.errors import CortenError, ResourceExhausted
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.server import Call, Connection, Handler
from corten.lib.grpc.wire import shared_memory

_LOG = logging.getLogger("corten.build")
_MESSAGE_LIMIT = 16 << 20  # as BuildKit
_CONNECTIONS = 256
_SESSION = "/moby.buildkit.v1.Control/Session"
_EXPOSED = "x-docker-expose-session-"


class BuildKit:
    """One a daemon."""

    def __init__(self, *, control: Control, gateway: Gateway, history: HistoryCalls, sessions: Sessions) -> None:
        self._methods: Mapping[str, Handler] = {
            **control.methods(),
            **gateway.methods(),
            **history.methods(),
            _SESSION: self._tunnelled,
        }
        self._sessions = sessions
        self._connections = 0
        self._memory = shared_memory()

    def check_room(self) -> None:
        """Raise ResourceExhausted when there are too many clients."""
        if self._connections >= _CONNECTIONS:
            raise ResourceExhausted("there are too many clients of BuildKit's API")

    async def serve(self, fd: int, preface: bytes) -> None:
        """Answer calls until the client hangs up. The socket is this one's from now on."""
        self._connections += 1
        try:
            await Connection(self._methods, limit=_MESSAGE_LIMIT, memory=self._memory).serve(fd, preface)
        except OSError as error:
            _LOG.debug("a connection of BuildKit's API could not be served: %s", error)
        finally:
            self._connections -= 1

    async def _tunnelled(self, call: Call) -> None:
        """A session inside a call. Raises as `check_session`."""
        said = call.metadata
        session_id, methods = said.first(f"{_EXPOSED}uuid"), said.all(f"{_EXPOSED}grpc-method")
        self.check_session(session_id, methods)
        name, shared_key = said.first(f"{_EXPOSED}name"), said.first(f"{_EXPOSED}sharedkey")

        async def serve(fd: int) -> None:
            await self.session(fd, b"", session_id=session_id, name=name, shared_key=shared_key, methods=methods)

        await tunnelled(call, serve)

    def check_session(self, session_id: str, methods: Iterable[str]) -> None:
        """Whether a session may begin. Raises InvalidArgument, Conflict, ResourceExhausted."""
        self._sessions.check(session_id, methods)

    async def session(
        self, fd: int, preface: bytes, *, session_id: str, name: str, shared_key: str, methods: Iterable[str]
    ) -> None:
        """Have a client's session until it hangs up. The socket is this one's from now on."""
        channel = Channel(self._memory)
        try:
            await channel.start(fd, preface)
            session = Session(
                id=session_id,
                name=name,
                shared_key=shared_key,
                methods=frozenset(method.lower() for method in methods),
                channel=channel,
            )
            await self._sessions.keep(session)
        except (CortenError, OSError) as error:  # another one of its id was quicker; nobody hears of it any more
            _LOG.debug("a build session could not begin: %s", error)
        finally:
            channel.close()
