"""No test is left out: each file is below a directory of a stage of tests/run.py, where pytest looks for it."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.run import QUICK, REAL

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py"))


def test_each_file_is_in_a_stage() -> None:
    given = [Path(word) for _name, words in QUICK + REAL for word in words if word.startswith("tests/")]
    assert [file for file in FILES if not any(file.is_relative_to(directory) for directory in given)] == []


def test_no_directory_is_one_that_pytest_does_not_enter(request: pytest.FixtureRequest) -> None:
    """Its own list has names such as build, at any depth."""
    skipped = request.config.getini("norecursedirs")
    names = {part for file in FILES for part in file.parts[:-1]}
    assert [name for name in sorted(names) for pattern in skipped if fnmatch(name, pattern)] == []
    assert FILES
