"""`system df` of both clients, with and without -v: Docker's tables, and every byte that du(1) counts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.faults.steps import disk_usage, unexplained
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    """An engine with two images that share a layer, a running and a stopped container, and volumes."""
    with running_daemon() as one:
        one.docker("load", "-i", str(images.busybox()))
        writes = "head -c 300000 /dev/urandom > /kept/f; head -c 50000 /dev/urandom > /own; echo said; sleep 1000"
        one.docker("run", "-d", "--name", "runs", "-v", "kept:/kept", "busybox", "sh", "-c", writes)
        one.docker("run", "--name", "ended", "busybox", "sh", "-c", "head -c 70000 /dev/urandom > /added")
        one.docker("commit", "ended", "made:1")
        one.docker("volume", "create", "unused")
        one.docker("exec", "runs", "sh", "-c", "while [ ! -s /own ]; do sleep 0.01; done; sync")
        yield one


def lines(text: str) -> list[list[str]]:
    """Words that stand in columns."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]


def test_the_four_kinds_are_dockers(engine: Daemon) -> None:
    table = lines(engine.docker("system", "df").stdout)
    assert table == lines(engine.corten("system", "df").stdout)
    assert [row[:3] for row in table[1:]] == [
        ["Images", "2", "1"], ["Containers", "2", "1"], ["Local Volumes", "2", "1"], ["Build Cache", "0", "0"],
    ]  # fmt: skip
    assert [row[3] for row in table[2:]] == ["120kB", "300kB", "0B"]


def test_verbose_tables_name_each_object(engine: Daemon) -> None:
    docker, corten = (client("system", "df", "-v").stdout for client in (engine.docker, engine.corten))
    for text in (docker, corten):
        rows = {row[0]: row for row in lines(text)}
        assert rows["made"][-2:] == ["70kB", "0"]  # its own, containers
        assert rows["busybox"][-2:] == ["0B", "2"]
        assert rows["kept"][1:] == ["1", "300kB"]
        assert rows["unused"][1:] == ["0", "0B"]
        assert any(row[-1] == "runs" for row in lines(text))
    assert "On disk" not in docker
    assert lines(corten)[-1][0] == "Sum"


def test_every_byte_is_explained(engine: Daemon) -> None:
    assert unexplained(engine) == []
    rows = {row["Type"]: row for row in disk_usage(engine)}
    assert rows["Volumes"]["Size"] >= 300_000
    assert rows["Container layers"]["Size"] >= 120_000
    assert rows["Image layers"]["Count"] == 2
    assert rows["Container logs and files"]["Count"] == 2
    assert rows["Broken pulls, kept to go on"]["Size"] == 0
