"""The same options lead to the same request as with Docker's client, and wrong ones to the same error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.create_cases import CASES
from tests.unit.cli.recording import CORTEN, GOLDEN, create_request, prepare

_RECORDED: dict[str, Any] = json.loads((GOLDEN / "create.json").read_text())


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_the_request_or_error_is_dockers(arguments: list[str], tmp_path: Path) -> None:
    prepare(tmp_path)
    found = json.loads(json.dumps(create_request(CORTEN, arguments, tmp_path)).replace(str(tmp_path), "$FOLDER"))
    assert found == _RECORDED[json.dumps(arguments)]
