"""The client's end of a local build: directories are passed to the engine, and its questions answered on the way.

Protocol: build/local/frames.py. Blocking, one thread; questions are answered as they come between messages.
"""

from __future__ import annotations

import _socket
import sys

from corten.build.local.frames import PATH, UPGRADE, FrameReader, frame
from corten.client import json_text
from corten.client.errors import ApiError, ConnectionBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Protocol

    from corten.build.local.frames import Frame
    from corten.client.api import Client
    from corten.client.connection import Connection

    class Answers(Protocol):
        """What the engine may ask for during a build. An error's text is told to it, and fails the step."""

        def secret(self, name: str) -> bytes | None:
            """A secret's value. Raises CortenError, OSError."""

        def agent(self, name: str) -> _socket.socket | None:
            """A new connection to an ssh agent. Raises CortenError, OSError."""

        def credentials(self, keys: Sequence[str]) -> dict[str, str] | None:
            """AuthConfig of the first that there is a login for. Raises CortenError, OSError."""


_CHUNK = 256 << 10
_RIGHTS = 1  # SCM_RIGHTS of <sys/socket.h>
_NOT_OFFERED = (400, 404, 405, 501)  # by other engines, and older ones


class LocalBuild:
    """A build that has begun; `messages` runs it to its end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sock = connection.sock
        self._reader = FrameReader()
        self._reader.feed(connection.pending())

    def close(self) -> None:
        """Hang up, which ends the build."""
        self._connection.close()

    def send(self, message: object, data: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a frame, with descriptors. Raises ConnectionBroken."""
        raw = memoryview(frame(json_text.dumps(message), data, len(descriptors)))
        try:
            if descriptors:
                packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors)
                raw = raw[self._sock.sendmsg([raw], [(_socket.SOL_SOCKET, _RIGHTS, packed)], _socket.MSG_NOSIGNAL) :]
            self._sock.sendall(raw, _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise ConnectionBroken(f"the engine closed the connection while a build was sent: {error}") from error

    def begin(self, query: Mapping[str, object], contexts: Mapping[str, int], texts: Mapping[str, bytes]) -> bool:
        """Say what is to be built: `texts` are a `dockerfile` and an `ignore` file. False: descriptors do not get to
        the engine, which is behind a proxy. Raises ApiError, ConnectionBroken."""
        names = list(contexts)
        try:
            for name, text in texts.items():
                self.send({name: True}, text)
            self.send({"build": {"query": query, "contexts": names}}, descriptors=[contexts[name] for name in names])
        except ConnectionBroken:  # the engine refuses as soon as it misses a descriptor; what it says can be read still
            pass
        message = json_text.loads(self._next().message)
        if message.get("code") == "bad-frame":
            return False
        if "error" in message:
            raise ApiError(400, str(message["error"]))
        return True

    def messages(self, answers: Answers) -> Iterator[dict[str, Any]]:
        """The messages of Docker's stream; a result's bytes are `{"aux": {"Output": bytes}}`. Raises ApiError when the
        build fails before it says anything, ConnectionBroken when the engine goes away."""
        is_first = True
        while True:
            received = self._next()
            message = json_text.loads(received.message)
            if "ask" in message:
                self._answer(message, answers)
                continue
            if message.get("end"):
                return
            if "error" in message:
                if is_first:
                    raise ApiError(500, str(message["error"]))
                yield {"errorDetail": {"message": message["error"]}, "error": message["error"]}
                return
            is_first = False
            if message.get("output"):
                yield {"aux": {"Output": received.data, "Number": int(message.get("number") or 0)}}
            elif "progress" in message:
                yield message["progress"]

    def _answer(self, question: dict[str, Any], answers: Answers) -> None:
        answer: dict[str, Any] = {"answer": question["ask"]}
        data, sock = b"", None
        try:
            if "secret" in question:
                value = answers.secret(str(question["secret"]))
                answer["found"], data = value is not None, value or b""
            elif "agent" in question:
                sock = answers.agent(str(question["agent"]))
                answer["found"] = sock is not None
            elif "credentials" in question:
                answer["auth"] = answers.credentials(list(question["credentials"]))
                answer["found"] = bool(answer["auth"])
        except OSError as error:
            answer["error"] = f"{error.filename or 'it'}: {(error.strerror or str(error)).lower()}"
        except Exception as error:
            answer["error"] = str(getattr(error, "message", error))
        try:
            self.send(answer, data, [sock.fileno()] if sock is not None else ())
        finally:
            if sock is not None:
                sock.close()

    def _next(self) -> Frame:
        while True:
            for found in self._reader.frames():
                return found
            try:
                data = self._sock.recv(_CHUNK)
            except BlockingIOError:  # the connection's look for signals
                continue
            except OSError as error:
                raise ConnectionBroken(f"the connection to the engine broke: {error}") from error
            if not data:
                raise ConnectionBroken("the engine went away in the middle of the build")
            self._reader.feed(data)


def open_local(client: Client) -> LocalBuild | None:
    """A connection for one build; None when the engine is on another machine, or knows no such thing. Raises
    EngineUnreachable, ConnectionBroken, ApiError."""
    if client.address.kind != "unix":
        return None
    headers = {"Connection": "Upgrade", "Upgrade": UPGRADE}
    connection = client.send("POST", PATH, headers=headers, connection=client.connection())
    if connection.read_head() == 101:
        return LocalBuild(connection)
    if connection.status in _NOT_OFFERED:
        connection.close()
        return None
    raise client.refusal(connection)
