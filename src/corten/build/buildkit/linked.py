"""Results that clients hand from one build to another: `target:base` of a bake file, `service:base` of compose.

A client is given a definition with each result, and hands that over as an input of another solve. BuildKit's holds the
whole graph; this engine's is one source whose name, which nobody can guess, stands for the result as long as the build
that has it is not over. Any other graph is refused. The decisions are pure; daemon's loop.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from corten.build.buildkit.messages.pb import Definition, Input, Op, SourceOp
from corten.build.given import PREFIX, Given
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.wire import decode, encode
from corten.spec.digest import digest_of

_SCHEME = "corten-result://"
_INPUT = "input:"
_CONTEXT = "context:"
_NOT_OURS = (
    "raw LLB definitions are not supported by this builder: only results that it has given out can be handed over"
)


def definition_of(name: str) -> bytes:
    """What a client gets for a result: a source, and the operation that says that it is wanted."""
    source = encode(Op(source=SourceOp(identifier=_SCHEME + name)))
    last = encode(Op(inputs=[Input(digest=digest_of(source))]))
    return encode(Definition(ops=[source, last], metadata={digest_of(one): b"" for one in (source, last)}))


def name_of(definition: bytes) -> str:
    """The result that a definition means. Raises GrpcError for any other graph, Malformed."""
    found = decode(Definition, definition).ops
    if len(found) != 2:
        raise GrpcError(Code.UNIMPLEMENTED, _NOT_OURS)
    source, last = decode(Op, found[0]), decode(Op, found[1])
    wanted = [(one.digest, one.index) for one in last.inputs]
    if source.source is None or wanted != [(digest_of(found[0]), 0)]:
        raise GrpcError(Code.UNIMPLEMENTED, _NOT_OURS)
    if not source.source.identifier.startswith(_SCHEME):
        raise GrpcError(Code.UNIMPLEMENTED, _NOT_OURS)
    return source.source.identifier.removeprefix(_SCHEME)


@dataclass(frozen=True, slots=True)
class Linked:
    """What a solve is given: its attributes with the results' names in them, and the results."""

    attributes: Mapping[str, str]
    given: Mapping[str, Given]


class Results:
    """Those that clients may hand over; one a daemon."""

    def __init__(self) -> None:
        self._known: dict[str, Given] = {}

    def add(self, given: Given) -> str:
        """Give a result out; its name."""
        name = secrets.token_hex(20)
        self._known[name] = given
        return name

    def remove(self, name: str) -> None:
        """The build that has it is over."""
        self._known.pop(name, None)

    def linked(self, attributes: Mapping[str, str], inputs: Mapping[str, bytes]) -> Linked:
        """A solve with inputs: `context:base` = `input:KEY` means the input KEY; elsewhere it is a text, which
        must not become the name. Raises GrpcError, Malformed."""
        named = {key: name_of(definition) for key, definition in inputs.items() if definition}
        gone = next((key for key, name in named.items() if name not in self._known), None)
        if gone is not None:
            raise GrpcError(Code.NOT_FOUND, f"the input {gone[:64]} is a result of a build that is over")
        known = {f"{_INPUT}{key}": f"{PREFIX}{name}" for key, name in named.items()}
        return Linked(
            attributes={
                key: known.get(value, value) if key.startswith(_CONTEXT) else value for key, value in attributes.items()
            },
            given={f"{PREFIX}{name}": self._known[name] for name in named.values()},
        )
