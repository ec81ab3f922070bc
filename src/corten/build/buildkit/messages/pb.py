"""Of a graph (pb.Definition) what names a result of this engine. Source: BuildKit's solver/pb/ops.proto."""

from __future__ import annotations

from typing import Annotated

from corten.lib.protobuf.message import Message


class Definition(Message):
    """A graph: each operation as bytes, by whose digest others name it; the last one names what is wanted. `metadata`
    is that of each (pb.OpMetadata), which clients want to be there."""

    ops: Annotated[list[bytes], 1] = []
    metadata: Annotated[dict[str, bytes], 2] = {}


class Input(Message):
    """An operation that another one needs."""

    digest: Annotated[str, 1] = ""
    index: Annotated[int, 2] = 0


class SourceOp(Message):
    """Something from elsewhere."""

    identifier: Annotated[str, 1] = ""


class Op(Message):
    """One operation; the kinds that are not read here are passed over."""

    inputs: Annotated[list[Input], 1] = []
    source: Annotated[SourceOp | None, 3] = None
