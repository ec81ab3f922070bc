"""Layer images are mounted once for all containers, where nobody else sees it, and go with their driver."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.store.tars import member, tar

from corten.errors import NotFound
from corten.store.db import Database
from corten.store.erofs.mount import probe
from corten.store.snapshots.formats import Directories, Images, LayerFormat
from corten.store.snapshots.layered import LayeredSnapshots


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LayeredSnapshots]:
    backing, _reason = probe(tmp_path)
    form: LayerFormat = Images(backing) if backing is not None else Directories()
    table = Database(tmp_path / "meta.db").table
    made = LayeredSnapshots(tmp_path / "s", form=form, layers=table("layers"), snapshots=table("snapshots"))
    yield made
    made.close()
    assert none_left()


def inside() -> list[list[str]]:
    """The mount tables of this process' threads that have one of their own."""
    own = os.readlink("/proc/self/ns/mnt")
    tables = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends just now
            if os.readlink(task / "ns/mnt") != own:
                tables.append((task / "mountinfo").read_text().splitlines())
    return tables


def none_left(timeout_s: float = 10.0) -> bool:
    """Whether no thread with a mount table of its own is left.

    The kernel ends a thread a moment after Python has joined it.
    """
    deadline = time.monotonic() + timeout_s
    while inside() and time.monotonic() < deadline:
        time.sleep(0.01)
    return inside() == []


def names(root: int) -> set[str]:
    return set(os.listdir(f"/proc/self/fd/{root}"))


def images() -> int:
    return sum(" - erofs " in line for table in inside() for line in table)


def test_one_mount_serves_all(store: LayeredSnapshots) -> None:
    store.apply("a", "", tar(member("file", "f", b"1")))
    store.apply("b", "a", tar(member("file", "g", b"2")))
    each = images()
    assert each == (2 if store.name == "erofs" else 0)
    roots = []
    for key in ("one", "two"):
        store.prepare(key, "b")
        roots.append(store.root_fd(key))
    assert images() == each
    assert all("f" in names(root) for root in roots)
    for root in roots:
        os.close(root)
    for key in ("one", "two"):
        store.remove(key)
    store.remove_layer("b")
    assert images() == each // 2
    store.close()
    assert none_left()


def test_the_namespace_has_the_snapshots_alone(store: LayeredSnapshots) -> None:
    store.apply("a", "", tar(member("file", "f", b"1")))
    store.prepare("one", "a")
    os.close(store.root_fd("one"))
    (table,) = inside()
    assert {line.split(" ")[4] for line in table} <= {"/", "/1/fs"}
    assert " erofs " not in Path("/proc/self/mountinfo").read_text()


def test_a_root_outlives_the_driver(store: LayeredSnapshots) -> None:
    store.apply("a", "", tar(member("file", "f", b"content")))
    store.prepare("one", "a")
    root = store.root_fd("one")
    store.close()
    with open(os.open("f", os.O_RDONLY, dir_fd=root), "rb") as file:
        assert file.read() == b"content"
    os.close(root)


def test_layers_come_and_go_beside_starts(store: LayeredSnapshots) -> None:
    store.apply("base", "", tar(member("file", "f", b"1")))
    store.prepare("one", "base")
    errors: list[BaseException] = []

    def come_and_go(number: int) -> None:
        try:
            for turn in range(10):
                name = f"{number}-{turn}"
                store.apply(name, "base", tar(member("file", name, b"2")))
                store.prepare(name, name)
                fd = store.root_fd(name)
                assert {"f", name} <= names(fd)
                os.close(fd)
                store.remove(name)
                store.remove_layer(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert images() == (1 if store.name == "erofs" else 0)
    with pytest.raises(NotFound):
        store.size("0-0")
