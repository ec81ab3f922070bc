"""`--output`: where a build's result goes, in buildx's words, and how it gets there from the engine's messages."""

from __future__ import annotations

import base64
import os

from corten.cli.create.csv_fields import split_fields
from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

_KINDS = {"local": "files", "tar": "files", "oci": "archive", "docker": "archive", "image": ""}
_WHAT = "write the output"


class Output:
    """One result: `kind` is the engine's name of it, empty for an image there; `dest` is - for standard output."""

    __slots__ = ("dest", "kind", "type")

    def __init__(self, type_: str = "image", dest: str = "") -> None:
        self.type = type_
        self.dest = dest
        self.kind = "" if type_ == "docker" and not dest else _KINDS[type_]

    @property
    def is_stdout(self) -> bool:
        """Whether the result goes to standard output, where nothing else may be then."""
        return self.dest == "-"

    def check(self) -> None:
        """Raise CliError when the result cannot go there: before a build that would be for nothing."""
        from corten.cli.output_file import check_output

        if self.type == "local":
            if os.path.lexists(self.dest) and not os.path.isdir(self.dest):
                raise CliError(f"destination directory {self.dest} is a file")
        elif self.kind:
            check_output("" if self.is_stdout else self.dest, _WHAT)

    def write(self, pieces: Iterator[bytes]) -> None:
        """Take the tar: a file appears whole or not at all; below a directory, nothing leads out of it."""
        if self.type != "local":
            from corten.cli.output_file import write_stream

            write_stream(pieces, "" if self.is_stdout else self.dest, _WHAT)
            return
        from corten.cli.copy.unpack import Stream, unpack

        os.makedirs(self.dest, exist_ok=True)
        unpack(Stream(pieces), self.dest, "", "", harmless=True)
        for _rest in pieces:  # behind the end of the tar
            pass


def parse_outputs(texts: Sequence[str]) -> Output:
    """What all `-o` say. Raises CliError."""
    if len(texts) > 1:
        raise CliError("multiple outputs are not supported: give one --output")
    return _parse(texts[0]) if texts else Output()


def _parse(text: str) -> Output:
    if text == "-":
        return Output("tar", "-")
    try:
        fields = split_fields(text)
    except ValueError as error:
        raise CliError(f"invalid output {text!r}: {error}") from None
    if len(fields) == 1 and "=" not in text:
        if not text:
            raise CliError("invalid output: a directory or type=... is needed")
        return Output("local", text)
    values: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise CliError(f"invalid value {field}")
        values[name.strip().lower()] = value
    return _made(values)


def _made(values: dict[str, str]) -> Output:
    kind = values.pop("type", "")
    dest = values.pop("dest", "")
    if not kind:
        raise CliError("type is required for output")
    if kind not in _KINDS:
        raise CliError(f"output type {kind!r} is not supported: it may be {', '.join(_KINDS)}")
    if values:
        raise CliError(f"output {kind}: not supported: {', '.join(sorted(values))}")
    if kind == "image" and dest:
        raise CliError("output image: not supported: dest")
    if kind == "local" and dest in ("", "-"):
        raise CliError("dest is required for local output")
    return Output(kind, dest or ("-" if kind in ("tar", "oci") else ""))


class Conversation:
    """The engine's messages: words, then the result's data in between, then words again. `aside` takes the status
    messages that come among the data."""

    def __init__(
        self, messages: Iterable[dict[str, Any]], aside: Callable[[dict[str, Any]], None] = lambda _message: None
    ) -> None:
        self._messages = iter(messages)
        self._aside = aside
        self._next: dict[str, Any] | None = None

    def words(self) -> Iterator[dict[str, Any]]:
        """Messages up to the data, or to the end."""
        while (message := self._take()) is not None:
            if _data(message) is not None:
                self._next = message
                return
            yield message

    def data(self) -> Iterator[bytes]:
        """The data. Raises CliError when the engine fails in it, or goes away."""
        while (message := self._take()) is not None:
            data = _data(message)
            if data is None and _is_status(message):
                self._aside(message)
                continue
            if data is None:
                if message.get("errorDetail"):
                    raise CliError(str(message["errorDetail"].get("message") or "the build failed"))
                self._next = message
                return
            yield data if isinstance(data, bytes) else base64.b64decode(data)
        raise CliError("the engine's answer ends in the middle of the output")

    def _take(self) -> dict[str, Any] | None:
        message, self._next = self._next, None
        return message if message is not None else next(self._messages, None)


def _data(message: dict[str, Any]) -> str | bytes | None:
    """A piece of the result: base64 in a stream of JSON, bytes over a local connection."""
    aux = message.get("aux")
    return aux.get("Output") if isinstance(aux, dict) else None


def _is_status(message: dict[str, Any]) -> bool:
    aux = message.get("aux")
    return isinstance(aux, dict) and aux.get("Status") is not None
