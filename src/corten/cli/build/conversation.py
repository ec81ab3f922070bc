"""The engine's messages during a build: words, and the data of results in between."""

from __future__ import annotations

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


class Conversation:
    """Take `words`, then, as long as `number` says that there are some, `data` and words again. Progress that comes in
    the middle of data is told `beside` it."""

    def __init__(
        self, messages: Iterable[dict[str, Any]], beside: Callable[[dict[str, Any]], None] = lambda _message: None
    ) -> None:
        self._messages = iter(messages)
        self._beside = beside
        self._next: dict[str, Any] | None = None

    @property
    def number(self) -> int | None:
        """Which result the data that come next are of; None when no data do."""
        return None if self._next is None else _number(self._next)

    def words(self) -> Iterator[dict[str, Any]]:
        """Messages up to the data, or to the end."""
        while (message := self._take()) is not None:
            if _number(message) is not None:
                self._next = message
                return
            yield message

    def data(self) -> Iterator[bytes]:
        """The data of one result. Raises CliError when the engine fails in it, or goes away."""
        number = self.number
        while (message := self._take()) is not None:
            if _is_progress(message):
                self._beside(message)
                continue
            if _number(message) != number:
                if message.get("errorDetail"):
                    raise CliError(str(message["errorDetail"].get("message") or "the build failed"))
                self._next = message
                return
            data = message["aux"]["Output"]  # base64 in a stream of JSON, bytes over a local connection
            yield data if isinstance(data, bytes) else _decoded(data)
        raise CliError("the engine's answer ends in the middle of the output")

    def _take(self) -> dict[str, Any] | None:
        message, self._next = self._next, None
        return message if message is not None else next(self._messages, None)


def _decoded(text: str) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(text)


def _is_progress(message: dict[str, Any]) -> bool:
    aux = message.get("aux")
    return isinstance(aux, dict) and aux.get("Status") is not None


def _number(message: dict[str, Any]) -> int | None:
    aux = message.get("aux")
    if not isinstance(aux, dict) or aux.get("Output") is None:
        return None
    return int(aux.get("Number") or 0)
