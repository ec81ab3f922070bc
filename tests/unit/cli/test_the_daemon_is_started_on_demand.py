"""When nothing answers, root's command starts the daemon once, whoever asks; a failing daemon's words are shown."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from corten.cli import launch
from corten.client.address import Address
from corten.client.errors import EngineUnreachable

_SERVER = """#!{python}
import os, socket, sys
with open({folder!r} + "/started", "a") as file:
    print(os.getpid(), os.getsid(0) == os.getpid(), os.getcwd(), sys.argv[-1], file=file)
server = socket.socket(socket.AF_UNIX)
server.bind({folder!r} + "/s")
server.listen()
while True:
    server.accept()
"""
_FAILING = """#!/bin/sh
echo "Traceback (most recent call last):" >&2
echo "  File x, line 1, in y" >&2
echo "OSError: no space" >&2
exit 3
"""


def _stub(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(text.format(python=sys.executable, folder=str(folder)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _command(folder: Path) -> list[str]:
    code = (
        "import sys; sys.path.insert(0, 'src')\n"
        "from corten.cli.launch import start_daemon\nfrom corten.client.address import Address\n"
        f"start_daemon(Address('unix://x', 'unix', path={str(folder / 's')!r}))"
    )
    return [sys.executable, "-c", code]


def test_several_commands_start_one_daemon(tmp_path: Path) -> None:
    environment = {**os.environ, "CORTEN_PYTHON": str(_stub(tmp_path, _SERVER))}
    commands = [
        subprocess.Popen(_command(tmp_path), env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [command.communicate(timeout=60)[1] for command in commands]
    lines = (tmp_path / "started").read_text().splitlines()
    for line in lines:
        os.kill(int(line.split()[0]), signal.SIGKILL)
    assert [command.returncode for command in commands] == [0, 0, 0]
    assert len(lines) == 1
    assert lines[0].split()[1:] == ["True", "/", "daemon"]
    assert sorted(said) == ["", "", "Started the Corten daemon (stop it with: corten daemon stop)\n"]


def test_the_words_of_a_daemon_that_fails_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEN_PYTHON", str(_stub(tmp_path, _FAILING)))
    with pytest.raises(EngineUnreachable) as caught:
        launch.start_daemon(Address("unix://x", "unix", path=str(tmp_path / "s")))
    assert caught.value.message == "the Corten daemon ended at its start with status 3: OSError: no space"
    assert str(tmp_path / "daemon.log") in caught.value.hint


def test_who_is_not_root_is_told_what_to_do(tmp_path: Path) -> None:
    code = f"import os, sys; os.setuid(65534)\n{_command(tmp_path)[2]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "only root can start it" in done.stderr
