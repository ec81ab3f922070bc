"""containerd.services.content.v1.Content, as far as it is read. Source: containerd's api/services/content/v1."""

from __future__ import annotations

from typing import Annotated

from corten.build.buildkit.messages.types import Timestamp
from corten.lib.protobuf.message import Message


class InfoRequest(Message):
    """Which blob."""

    digest: Annotated[str, 1] = ""


class Info(Message):
    """A blob that there is."""

    digest: Annotated[str, 1] = ""
    size: Annotated[int, 2] = 0
    created_at: Annotated[Timestamp | None, 3] = None
    updated_at: Annotated[Timestamp | None, 4] = None


class InfoResponse(Message):
    """It."""

    info: Annotated[Info | None, 1] = None


class ReadRequest(Message):
    """A part of a blob; a size of 0 means all from the offset on."""

    digest: Annotated[str, 1] = ""
    offset: Annotated[int, 2] = 0
    size: Annotated[int, 3] = 0


class ReadResponse(Message):
    """A piece of it."""

    offset: Annotated[int, 1] = 0
    data: Annotated[bytes, 2] = b""
