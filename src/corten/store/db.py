"""Records in SQLite: one file, one table of rows by kind and key. Daemon; any thread, one at a time.

WAL with synchronous=NORMAL: a commit costs some 50 µs and no fsync, so it may be made on the loop; after a crash of the
daemon nothing is lost. After a power cut the last transactions may be, never the file (sqlite.org/wal.html). Where that
would tear things apart, the log is fsynced: by each write to a *durable* table, and by `flush` before files are deleted
whose rows are gone. What is left to lose: containers made, and their states written, in the last moments.

Both files have disk blocks claimed ahead, so that rows can still be deleted, and records of exits written, when the
disk is full. Errors: DiskFull, DataLoss for a damaged file, AlreadyExists.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from corten.errors import AlreadyExists, DataLoss
from corten.lib.atomicfile import fsync_dir
from corten.lib.disk_full import DiskFull
from corten.lib.faultpoint import reach
from corten.linux.fallocate import reserve

# Forward only; the number of applied ones is PRAGMA user_version. A released migration is never changed.
_MIGRATIONS = (
    """
    CREATE TABLE records (
        kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT, value BLOB NOT NULL, PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX records_by_name ON records (kind, name) WHERE name IS NOT NULL;
    """,
)
# SQLite folds the log in after 1000 pages, and then writes it from its beginning again.
_LOG_RESERVE = 1100 * (4096 + 24)
_FILE_RESERVE = 4 << 20
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """The daemon's database file; made, mode 0600, when it is missing. Raises DataLoss when it is none of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Before SQLite opens it: closing any descriptor of a file drops the process's locks on it (fcntl(2)).
            _claim(fd, os.fstat(fd).st_size + _FILE_RESERVE)
        finally:
            os.close(fd)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._migrate(path)
            log = self._log()
            if log >= 0:
                try:
                    _claim(log, _LOG_RESERVE)
                finally:
                    os.close(log)
            fsync_dir(path.parent)
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self, path: Path) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise DataLoss(f"the database {path} was written by a newer Corten (version {version})")
        for number in range(version, len(_MIGRATIONS)):
            script = f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} PRAGMA user_version={number + 1}; COMMIT;"
            self._connection.executescript(script)

    def table(self, kind: str, *, durable: bool = False) -> RecordTable:
        """The records of one kind; of a `durable` one each write is on disk when the call returns."""
        return RecordTable(self, kind, durable=durable)

    def flush(self) -> None:
        """Have all that was written until now on disk. Raises OSError."""
        fd = self._log()
        if fd >= 0:
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _log(self) -> int:
        try:
            return os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return -1

    def check(self) -> list[str]:
        """What is wrong with the file's inner order, in SQLite's words; reads all of it."""
        with self.use() as connection:
            rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
        return [] if rows == ["ok"] else rows

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for the caller alone."""
        with self._lock, self._errors():
            yield self._connection

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFull(f"write {self._path}") from error
            if code in _DAMAGED:
                raise DataLoss(
                    f"the database {self._path} cannot be read: {error}",
                    hint="move it and its -wal away: the engine starts empty, and images must be pulled again; "
                    "volumes and their content stay",
                ) from error
            raise

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        with self._lock:
            self._connection.close()


class RecordTable:
    """Records of one kind: bytes by key, with an optional unique name."""

    def __init__(self, database: Database, kind: str, *, durable: bool) -> None:
        self._database = database
        self._kind = kind
        self._durable = durable
        self._places = {step: f"row.{kind}.{step}" for step in ("writing", "written", "deleting", "deleted")}

    def put(self, key: str, value: bytes, name: str = "") -> None:
        """Write or replace. Raises AlreadyExists when another key has the name, DiskFull."""
        self._write([(self._kind, key, name or None, value)])

    def put_soon(self, key: str, value: bytes) -> None:
        """As `put`, but a durable table does not wait for the disk either: a power cut may bring the old one back."""
        self._write([(self._kind, key, None, value)], durable=False)

    def put_all(self, records: Mapping[str, bytes]) -> None:
        """Write several, all or none."""
        self._write([(self._kind, key, None, value) for key, value in records.items()])

    def _write(self, rows: list[tuple[str, str, str | None, bytes]], *, durable: bool | None = None) -> None:
        statement = (
            "INSERT INTO records (kind, key, name, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET name = excluded.name, value = excluded.value"
        )
        reach(self._places["writing"])
        with self._database.use() as connection:
            try:
                if len(rows) == 1:
                    connection.execute(statement, rows[0])
                else:
                    self._write_together(connection, statement, rows)
            except sqlite3.IntegrityError as error:
                raise AlreadyExists(f"{self._kind}: the name of {rows[0][1]} is taken") from error
        if self._durable if durable is None else durable:
            self.flush()
        reach(self._places["written"])

    @staticmethod
    def _write_together(
        connection: sqlite3.Connection, statement: str, rows: list[tuple[str, str, str | None, bytes]]
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite has rolled back by itself when the disk was full
                connection.execute("ROLLBACK")
            raise

    def get(self, key: str) -> bytes | None:
        """The record, or None."""
        return self._one("key", key)

    def by_name(self, name: str) -> bytes | None:
        """The record that has this name, or None."""
        return self._one("name", name)

    def _one(self, column: str, value: str) -> bytes | None:
        statement = f"SELECT value FROM records WHERE kind = ? AND {column} = ?"  # noqa: S608 - two column names of ours
        with self._database.use() as connection:
            row = connection.execute(statement, (self._kind, value)).fetchone()
        return bytes(row[0]) if row is not None else None

    def list(self) -> list[tuple[str, bytes]]:
        """All (key, record), by key."""
        statement = "SELECT key, value FROM records WHERE kind = ? ORDER BY key"
        with self._database.use() as connection:
            return [(key, bytes(value)) for key, value in connection.execute(statement, (self._kind,))]

    def delete(self, key: str) -> None:
        """Remove; nothing happens when it is not there."""
        reach(self._places["deleting"])
        with self._database.use() as connection:
            connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (self._kind, key))
        if self._durable:
            self.flush()
        reach(self._places["deleted"])

    def flush(self) -> None:
        """Have all that was written until now, of every kind, on disk."""
        self._database.flush()


def _claim(fd: int, size: int) -> None:
    """Blocks ahead; a file system that cannot, or has none left, is used as it is."""
    with contextlib.suppress(OSError):
        reserve(fd, size)
