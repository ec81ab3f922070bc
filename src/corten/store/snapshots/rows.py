"""What is recorded of layers, and where. Pure."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Table(Protocol):
    """Rows by key (store.db.RecordTable)."""

    def put(self, key: str, value: bytes, name: str = "") -> None:
        """Write or replace."""

    def list(self) -> list[tuple[str, bytes]]:
        """All rows."""

    def delete(self, key: str) -> None:
        """Remove."""

    def flush(self) -> None:
        """Have all that was written or removed on disk."""


class Layer(msgspec.Struct, frozen=True):
    """A committed layer: its directory's number, its parent's chainID, the bytes of its files."""

    number: int
    parent: str
    size: int
