"""What a quiet build has not said is told when it fails, as by a display, however much it was."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any

import pytest

from corten.cli.build.progress.display import Display
from corten.cli.build.silence import Silence


def messages(lines: int) -> list[dict[str, Any]]:
    begun = {"digest": "sha256:1", "name": "[1/1] RUN make", "started": "2024-05-06T07:08:09Z"}
    logs = [
        {"logs": [{"vertex": "sha256:1", "stream": 1, "data": b64encode(b"line %d\n" % number).decode()}]}
        for number in range(lines)
    ]
    failed = {**begun, "completed": "2024-05-06T07:08:10Z", "error": "exit code: 2"}
    return [{"vertexes": [begun]}, *logs, {"vertexes": [failed]}]


@pytest.mark.parametrize("lines", [1, 255, 256, 2000])
def test_a_failure_is_told_as_by_a_display(lines: int) -> None:
    silence, display = Silence(), Display("quiet", io.StringIO(), {})
    for message in messages(lines):
        silence.update(message)
        display.update(message)
    silence.close()
    assert silence.failures() == display.failures()
    assert f"line {lines - 1}" in silence.failures()
    assert len(silence._kept) == 0
