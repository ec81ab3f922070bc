"""For the same answers of an engine, commands print, ask and exit as Docker's client does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.canned import CASES
from tests.unit.cli.recording import CORTEN, GOLDEN, transcript

_RECORDED: dict[str, Any] = json.loads((GOLDEN / "transcripts.json").read_text())


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_output_requests_and_status_are_dockers(arguments: list[str], tmp_path: Path) -> None:
    found = json.loads(json.dumps(transcript(CORTEN, arguments, tmp_path)).replace(str(tmp_path), "$FOLDER"))
    assert found == _RECORDED[json.dumps(arguments)]
