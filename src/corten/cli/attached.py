"""A container that this terminal is attached to, for `run`, `start -a` and `attach`."""

from __future__ import annotations

import sys

from corten.cli.errors import CliError, ExitStatus
from corten.cli.signals import SIGWINCH, SignalQueue, name_of
from corten.cli.streams import Detached, StreamSession
from corten.client import json_text
from corten.client.errors import ApiError, ConnectionBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.detach_keys import DetachFilter
    from corten.cli.terminal import RawMode
    from corten.client.api import Client
    from corten.client.connection import Connection

_RESIZE_TRIES = 10
_FORCED_AFTER = 3


class AttachedContainer:
    """Attaches when entered; `copy` carries the streams, `exit_status` reads the answer of a wait.

    `redraw` is for a terminal that was there before: a change of its size makes the program in it paint again.
    """

    def __init__(
        self,
        client: Client,
        container: str,
        *,
        tty: bool,
        stdin: bool,
        stdout: bool = True,
        stderr: bool = True,
        proxy_signals: bool = True,
        detach_keys: str = "",
        logs: bool = False,
        redraw: bool = False,
    ) -> None:
        self._client = client
        self._container = container
        self._tty = tty
        self._stdin = stdin
        self._show = (stdout, stderr)
        self._redraw = redraw
        self._keys = detach_keys or _configured_keys(tty and stdin)
        self._signals = SignalQueue(proxy=proxy_signals, resize=tty)
        self._raw: RawMode | None = None
        self._interrupts = 0
        query = {
            "stream": True,
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "logs": logs,
            "detachKeys": self._keys,
        }
        self._conn = client.hijack(f"/containers/{container}/attach", query=query)

    def __enter__(self) -> AttachedContainer:
        self._client.answer(self._conn)
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is not None:
            self._raw.__exit__()
        self._signals.close()
        self._conn.close()

    def copy(self) -> bool:
        """Carry the streams until they end; False when the user detached."""
        from posix import isatty

        detach: DetachFilter | None = None
        if self._tty:
            if self._redraw:
                self.resize(larger_by=1)
            self.resize()
            if self._stdin and isatty(0):
                from corten.cli.detach_keys import DEFAULT, DetachFilter, parse_keys
                from corten.cli.terminal import RawMode

                detach = DetachFilter(parse_keys(self._keys or DEFAULT))
                self._raw = RawMode(0).__enter__()
        session = StreamSession(
            self._conn,
            multiplexed=not self._tty,
            stdin=0 if self._stdin else -1,
            detach=detach,
            signals=self._signals,
            on_signal=self._on_signal,
            show=self._show,
        )
        try:
            session.run()
        except Detached:
            self._end_raw_mode()
            return False
        self._end_raw_mode()
        return True

    def _end_raw_mode(self) -> None:
        if self._raw is not None:
            self._raw.__exit__()
            self._raw = None

    def exit_status(self, wait: Connection) -> int:
        """The status that the wait answers with; signals are still passed on meanwhile."""
        import select

        poll = select.poll()
        poll.register(wait.fileno(), select.POLLIN)
        poll.register(self._signals.fd, select.POLLIN)
        try:
            body = b""
            while True:
                ready = [wait.fileno()] if wait.buffered else [fd for fd, _ in poll.poll()]
                if self._signals.fd in ready:
                    for number in self._signals.take():
                        self._on_signal(number)
                if wait.fileno() in ready:
                    piece = wait.read_some()
                    body += piece
                    if not piece or body.endswith(b"}\n"):
                        break
            answer = json_text.loads(body)
        except (ConnectionBroken, ValueError) as error:
            raise CliError(f"Error waiting for container: {error}", status=125) from error
        failure = answer.get("Error")
        if failure and failure.get("Message"):
            sys.stderr.write(f"Error waiting for container: {failure['Message']}\n")
            return 125
        return int(answer["StatusCode"])

    def _on_signal(self, number: int) -> None:
        if number == SIGWINCH:
            self.resize()
            return
        name = name_of(number)
        if name in ("INT", "TERM"):
            self._interrupts += 1
            if self._interrupts >= _FORCED_AFTER:
                sys.stderr.write(f"\ngot {_FORCED_AFTER} SIGTERM/SIGINTs, forcefully exiting\n")
                raise ExitStatus(1)
        try:
            self._client.call("POST", f"/containers/{self._container}/kill", query={"signal": name})
        except (ApiError, ConnectionBroken):
            pass  # it has ended meanwhile

    def resize(self, *, larger_by: int = 0) -> None:
        """Tell the container the size of this terminal; one that is just starting may need a few tries."""
        resize_terminal(self._client, f"/containers/{self._container}/resize", larger_by=larger_by)


def resize_terminal(client: Client, path: str, *, larger_by: int = 0) -> None:
    """Send this terminal's size to a container or an exec."""
    from corten.cli.terminal import size_of

    rows, columns = size_of(1)
    if not (rows and columns):
        return
    for attempt in range(_RESIZE_TRIES):
        try:
            client.call("POST", path, query={"h": rows + larger_by, "w": columns + larger_by})
        except ApiError:
            import time

            time.sleep(0.01 * (attempt + 1))
            continue
        return


def _configured_keys(wanted: bool) -> str:
    if not wanted:
        return ""
    from corten.cli.config_file import read_config

    return str(read_config().get("detachKeys") or "")
