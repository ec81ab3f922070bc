"""The shim's end of the daemon's connection: one at a time, the newest wins. Runs in the shim."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from corten.runtime.launch import StartFailed
from corten.shim import protocol
from corten.shim.reactor import IN, Reactor

Handler = Callable[[protocol.Message, list[int]], protocol.Message]


def listen(directory: str) -> socket.socket:
    """The socket `<directory>/sock` for `Control.accept_from`; the directory is 0700 and root's. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # By descriptor: unix(7) allows 108 bytes of path, an exec root may be longer.
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/sock")
        listener.listen(4)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(fd)
    return listener


class Control:
    """Receives requests, calls `handler`, sends its reply or its error; `on_gone` when the daemon closed its end."""

    def __init__(self, reactor: Reactor, fd: int, *, handler: Handler, on_gone: Callable[[], None]) -> None:
        self._reactor = reactor
        self._handler = handler
        self._on_gone = on_gone
        self._listener = -1
        self._socket: socket.socket | None = None
        self._receiver: protocol.Receiver | None = None
        self._connect(socket.socket(fileno=fd))

    def accept_from(self, listener: int) -> None:
        """Let a later daemon connect; takes over the listening socket's descriptor."""
        self._listener = listener
        self._reactor.watch(listener, IN, lambda _events: self._accept())

    @property
    def connected(self) -> bool:
        """Whether a daemon listens."""
        return self._socket is not None

    def send(self, message: protocol.Message) -> None:
        """Say something to the daemon; when it is gone nobody hears it."""
        if self._socket is not None:
            try:  # not contextlib.suppress, here and in launching.py: five pages that a shim touches nowhere else
                protocol.send(self._socket, message)
            except OSError:
                return

    def _accept(self) -> None:
        listener = socket.socket(fileno=self._listener)
        try:
            connection, _address = listener.accept()
        finally:
            listener.detach()
        self._connect(connection)

    def _connect(self, sock: socket.socket) -> None:
        self._disconnect()
        self._socket = sock
        self._receiver = protocol.Receiver(sock)
        self._reactor.watch(sock.fileno(), IN, lambda _events: self._ready())

    def _disconnect(self) -> None:
        if self._socket is None or self._receiver is None:
            return
        self._reactor.forget(self._socket.fileno())
        self._receiver.close()
        self._socket.close()
        self._socket = self._receiver = None

    def _ready(self) -> None:
        receiver = self._receiver
        assert receiver is not None
        try:
            alive = receiver.fill()
            while (item := receiver.take()) is not None:
                self._answer(*item)
        except (OSError, protocol.ProtocolError):
            alive = False
        if not alive:
            self._disconnect()
            self._on_gone()

    def _answer(self, message: protocol.Message, fds: list[int]) -> None:
        reply: protocol.Message = {"re": message.get("seq", 0)}
        try:
            reply.update(self._handler(message, fds))
        except StartFailed as error:
            reply["error"] = {"stage": error.stage, "errno": error.errno, "text": error.text}
        except OSError as error:
            reply["error"] = {"stage": "shim", "errno": error.errno or 0, "text": str(error)}
        except (protocol.ProtocolError, KeyError, ValueError, TypeError) as error:
            reply["error"] = {"stage": "protocol", "errno": 0, "text": f"{type(error).__name__}: {error}"}
        finally:
            for fd in fds:
                os.close(fd)
        self.send(reply)
