"""Records in SQLite: one file, one table of rows by kind and key. Daemon; any thread, one at a time.

WAL with synchronous=NORMAL: a commit costs some 50 µs and no fsync, so it may be made on the loop; after a crash of the
daemon nothing is lost, after a power cut at most the last transactions are, never the file (sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from corten.errors import AlreadyExists, DataLoss

# Forward only; the number of applied ones is PRAGMA user_version. A released migration is never changed.
_MIGRATIONS = (
    """
    CREATE TABLE records (
        kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT, value BLOB NOT NULL, PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX records_by_name ON records (kind, name) WHERE name IS NOT NULL;
    """,
)


class Database:
    """The daemon's database file; made, mode 0600, when it is missing. Raises DataLoss when it is none of ours."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._migrate(path)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise DataLoss(
                f"the database {path} cannot be read: {error}", hint="move it away; images must then be pulled again"
            ) from error

    def _migrate(self, path: Path) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise DataLoss(f"the database {path} was written by a newer Corten (version {version})")
        for number in range(version, len(_MIGRATIONS)):
            script = f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} PRAGMA user_version={number + 1}; COMMIT;"
            self._connection.executescript(script)

    def table(self, kind: str) -> RecordTable:
        """The records of one kind."""
        return RecordTable(self._connection, self._lock, kind)

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        with self._lock:
            self._connection.close()


class RecordTable:
    """Records of one kind: bytes by key, with an optional unique name."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock, kind: str) -> None:
        self._connection = connection
        self._lock = lock
        self._kind = kind

    def put(self, key: str, value: bytes, name: str = "") -> None:
        """Write or replace. Raises AlreadyExists when another key has the name."""
        self._write([(self._kind, key, name or None, value)])

    def put_all(self, records: Mapping[str, bytes]) -> None:
        """Write several, all or none."""
        self._write([(self._kind, key, None, value) for key, value in records.items()])

    def _write(self, rows: list[tuple[str, str, str | None, bytes]]) -> None:
        statement = (
            "INSERT INTO records (kind, key, name, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET name = excluded.name, value = excluded.value"
        )
        with self._lock:
            try:
                if len(rows) == 1:
                    self._connection.execute(statement, rows[0])
                    return
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._connection.executemany(statement, rows)
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                raise AlreadyExists(f"{self._kind}: the name of {rows[0][1]} is taken") from error

    def get(self, key: str) -> bytes | None:
        """The record, or None."""
        return self._one("key", key)

    def by_name(self, name: str) -> bytes | None:
        """The record that has this name, or None."""
        return self._one("name", name)

    def _one(self, column: str, value: str) -> bytes | None:
        statement = f"SELECT value FROM records WHERE kind = ? AND {column} = ?"  # noqa: S608 - two column names of ours
        with self._lock:
            row = self._connection.execute(statement, (self._kind, value)).fetchone()
        return bytes(row[0]) if row is not None else None

    def list(self) -> list[tuple[str, bytes]]:
        """All (key, record), by key."""
        statement = "SELECT key, value FROM records WHERE kind = ? ORDER BY key"
        with self._lock:
            return [(key, bytes(value)) for key, value in self._connection.execute(statement, (self._kind,))]

    def delete(self, key: str) -> None:
        """Remove; nothing happens when it is not there."""
        with self._lock:
            self._connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (self._kind, key))
