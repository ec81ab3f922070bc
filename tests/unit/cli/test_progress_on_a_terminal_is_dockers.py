"""On a terminal the progress of a pull is drawn with the same bytes as by Docker's client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.canned import SCREENS
from tests.unit.cli.recording import CORTEN, GOLDEN, on_terminal

_RECORDED: dict[str, Any] = json.loads((GOLDEN / "screens.json").read_text())


@pytest.mark.parametrize(("command", "columns"), SCREENS)
def test_the_screen_is_dockers(command: str, columns: int, tmp_path: Path) -> None:
    assert on_terminal(CORTEN, command.split(), tmp_path, columns) == _RECORDED[f"{columns} {command}"]
