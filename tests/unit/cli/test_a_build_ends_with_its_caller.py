"""A build whose caller gives up ends at once, also when somebody keeps the error: a shell of Python, a notebook."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import corten
from corten.build.local.frames import frame

STATUS = {"progress": {"aux": {"Status": {"vertexes": [{"digest": "sha256:1", "name": "[1/1] RUN"}]}}}}


def _engine(listener: socket.socket, left: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: corten-build\r\n\r\n")
        connection.sendall(b"".join(frame(json.dumps(message).encode()) for message in ({"begun": True}, STATUS)))
        while connection.recv(1 << 16):
            pass
    left.set()


@pytest.mark.parametrize("reason", [KeyboardInterrupt, ValueError])
def test_the_engine_hears_of_it_while_the_error_is_kept(tmp_path: Path, reason: type[BaseException]) -> None:
    def give_up(_status: Mapping[str, Any]) -> None:
        raise reason

    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    left = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        threading.Thread(target=_engine, args=(listener, left), daemon=True).start()
        with pytest.raises(reason) as kept:
            corten.build(tmp_path, host=f"unix://{tmp_path}/s", on_progress=give_up)
        assert left.wait(20)
    assert kept.value.__traceback__ is not None
