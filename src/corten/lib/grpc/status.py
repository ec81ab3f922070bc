"""How a call ended: codes, texts and details, and their form in trailers. Pure; daemon.

Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), google.rpc.Status.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Annotated
from urllib.parse import quote, unquote

from corten.errors import CortenError, InvalidArgument
from corten.lib.protobuf.message import Message
from corten.lib.protobuf.wire import decode, encode

_TEXT_LIMIT = 8 << 10  # bytes of a text in a header; more is in the details
_DETAILS_LIMIT = 48 << 10  # a peer takes 64 KiB of headers at least


class Code(IntEnum):
    """The codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Detail(Message):
    """google.protobuf.Any."""

    type_url: Annotated[str, 1] = ""
    value: Annotated[bytes, 2] = b""


class Status(Message):
    """google.rpc.Status."""

    code: Annotated[int, 1] = 0
    message: Annotated[str, 2] = ""
    details: Annotated[list[Detail], 3] = []


class GrpcError(CortenError):
    """A call that ended with another code than OK; raised by a handler, it is the call's end."""

    code = "grpc"

    def __init__(self, status: Code, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.details = tuple(details)


def trailers_of(error: GrpcError | None) -> list[tuple[str, str]]:
    """The trailers that end a call. Details that have no room are left out."""
    if error is None:
        return [("grpc-status", "0")]
    text = error.message.encode("utf-8", "replace")[:_TEXT_LIMIT].decode("utf-8", "ignore")
    trailers = [
        ("grpc-status", str(int(error.status))),
        ("grpc-message", quote(text, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}")),
    ]
    if error.details:
        status = Status(code=int(error.status), message=text, details=list(error.details))
        while status.details and len(encode(status)) > _DETAILS_LIMIT:
            status.details.remove(max(status.details, key=lambda detail: len(detail.value)))
        trailers.append(("grpc-status-details-bin", base64.b64encode(encode(status)).decode().rstrip("=")))
    return trailers


def error_of(trailers: Mapping[str, str]) -> GrpcError | None:
    """How the peer says that the call ended; None for OK."""
    text = trailers.get("grpc-status", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        return GrpcError(Code.INTERNAL, "the peer ended the call without a status")
    number = int(text)
    if number == 0:
        return None
    code = Code(number) if number in Code._value2member_map_ else Code.UNKNOWN
    details: Sequence[Detail] = ()
    packed = trailers.get("grpc-status-details-bin", "")
    if packed:
        try:
            details = decode(Status, base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)).details
        except (binascii.Error, InvalidArgument):
            details = ()  # they only add to what the text says
    return GrpcError(code, unquote(trailers.get("grpc-message", ""), errors="replace"), details)
