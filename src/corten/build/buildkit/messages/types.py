"""What several services' messages are made of. Source: BuildKit's solver/pb/ops.proto, api/types, google.protobuf."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from corten.lib.protobuf.message import Message


class Nothing(Message):
    """A message that says nothing."""


class Timestamp(Message):
    """google.protobuf.Timestamp."""

    seconds: Annotated[int, 1] = 0
    nanos: Annotated[int, 2] = 0


class Platform(Message):
    """What an image or a worker is for."""

    architecture: Annotated[str, 1] = ""
    os: Annotated[str, 2] = ""
    variant: Annotated[str, 3] = ""


class SourceInfo(Message):
    """A file that places are in."""

    filename: Annotated[str, 1] = ""
    data: Annotated[bytes, 2] = b""
    language: Annotated[str, 4] = ""


class Position(Message):
    """A line, from 1."""

    line: Annotated[int, 1] = 0
    character: Annotated[int, 2] = 0


class Range(Message):
    """From one line to another, which is part of it."""

    start: Annotated[Position | None, 1] = None
    end: Annotated[Position | None, 2] = None


class Attributed(Message):
    """Something of a type, with attributes: an exporter, a cache to import or export."""

    type: Annotated[str, 1] = ""
    attrs: Annotated[dict[str, str], 2] = {}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A moment as a message."""
    if moment is None:
        return None
    seconds = int(moment.timestamp())
    return Timestamp(seconds=seconds, nanos=moment.microsecond * 1000)
