"""`cp` sends the same archives to the same places, and leaves the same files, as Docker's client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.copies import CASES
from tests.unit.cli.recording import CORTEN, GOLDEN, copy

_RECORDED: dict[str, Any] = json.loads((GOLDEN / "copies.json").read_text())


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_what_is_sent_and_found_is_dockers(arguments: list[str], tmp_path: Path) -> None:
    found = json.loads(json.dumps(copy(CORTEN, arguments, tmp_path)).replace(str(tmp_path), "$FOLDER"))
    assert found == _RECORDED[json.dumps(arguments)]
