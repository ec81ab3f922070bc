"""The database: what it makes of damage, of a full disk, of names that are taken; and what it has on disk when."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from corten.errors import AlreadyExists, DataLoss
from corten.lib.disk_full import DiskFull
from corten.store.db import Database


def filled(path: Path, rows: int = 2000) -> Path:
    database = Database(path / "meta.db")
    database.table("images").put_all({f"key{number}": os.urandom(300) for number in range(rows)})
    database.close()
    return path / "meta.db"


def test_rows_and_names(tmp_path: Path) -> None:
    database = Database(tmp_path / "meta.db")
    table, other = database.table("containers"), database.table("volumes", durable=True)
    table.put("1", b"one", "web")
    other.put("1", b"volume", "web")
    with pytest.raises(AlreadyExists):
        table.put("2", b"two", "web")
    assert (table.by_name("web"), other.by_name("web"), table.get("2")) == (b"one", b"volume", None)
    table.put_all({"3": b"three"})
    table.delete("1")
    table.delete("1")
    assert table.list() == [("3", b"three")]
    database.flush()
    assert database.check() == []
    database.close()


def test_space_is_claimed_ahead(tmp_path: Path) -> None:
    database = Database(tmp_path / "meta.db")
    claimed = [os.stat(tmp_path / name).st_blocks * 512 for name in ("meta.db", "meta.db-wal")]
    assert min(claimed) >= 4 << 20
    assert os.stat(tmp_path / "meta.db").st_size < 1 << 20
    database.close()


@pytest.mark.parametrize("damage", ["no database", "cut", "garbled head"])
def test_a_damaged_file_is_said_with_what_to_do(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path)
    raw = bytearray(path.read_bytes())
    if damage == "no database":
        raw[:] = b"hello" * 1000
    elif damage == "cut":
        del raw[len(raw) // 2 :]
    else:
        raw[100:3000] = os.urandom(2900)
    path.write_bytes(bytes(raw))
    with pytest.raises(DataLoss) as caught:
        Database(path).table("images").list()
    assert str(path) in caught.value.message
    assert "move it" in caught.value.hint


def test_a_page_that_rots_later_is_found_by_the_check(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2 & ~4095)
        file.write(os.urandom(4096))
    database = Database(path)
    try:
        assert database.check()
    except DataLoss as error:
        assert str(path) in error.message  # noqa: PT017 - either way it is said
    database.close()


def test_a_full_database_is_a_full_disk_and_rolls_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "meta.db")
    table = database.table("images")
    table.put("kept", b"1")
    with database.use() as connection:
        connection.execute("PRAGMA max_page_count=40")
    with pytest.raises(DiskFull) as caught:
        table.put_all({str(number): os.urandom(3000) for number in range(1000)})
    assert str(caught.value) == f"write {tmp_path}/meta.db: no space left on device"
    assert table.list() == [("kept", b"1")]
    table.delete("kept")
    database.close()


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    path = filled(tmp_path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataLoss, match="newer Corten"):
        Database(path)
    assert path.read_bytes() == before
