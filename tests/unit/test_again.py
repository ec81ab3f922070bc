"""What `tests.again` lets pass: a few failures that do not come again, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.again import MOST, run

UNSTEADY = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({failing}))
def test_fails_the_first_time(number):
    mark = Path(__file__).with_name(f"tried-{{number}}")
    tried = mark.exists()
    mark.touch()
    assert tried

def test_passes():
    with Path(__file__).with_name("passed").open("a") as file:
        file.write("x")
"""


def outcome(folder: Path, text: str) -> int:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\ncache_dir = elsewhere\n")
    return run(["-q", "-p", "no:xdist", "--rootdir", str(folder), str(folder)], folder / "cache")


def test_a_failure_that_does_not_come_again_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome(tmp_path, UNSTEADY.format(failing=MOST)) == 0
    assert capfd.readouterr().out.count("UNSTEADY") == 1
    assert (tmp_path / "passed").read_text() == "x", "only what failed is run again"


def test_more_failures_are_no_coincidence(tmp_path: Path) -> None:
    assert outcome(tmp_path, UNSTEADY.format(failing=MOST + 1)) == 1


def test_a_failure_that_comes_again_stays_one(tmp_path: Path) -> None:
    assert outcome(tmp_path, "def test_it():\n    assert False\n") == 1


def test_an_error_of_a_fixture_is_a_failure(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.fixture\ndef broken():\n    raise OSError\ndef test_it(broken):\n    pass\n"
    assert outcome(tmp_path, text) == 1


@pytest.mark.parametrize(("text", "status"), [("def broken(:\n", 2), ("", 5)])
def test_what_is_no_failed_test_is_not_tried_again(tmp_path: Path, text: str, status: int) -> None:
    assert outcome(tmp_path, text) == status
