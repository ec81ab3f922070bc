from __future__ import annotations

from pathlib import Path

import pytest

from corten.runtime.failure import StartFailed
from corten.runtime.lookup import go_quoted, look_path
from corten.runtime.steps.command import refuse_own_executable


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, mode in (("tool", 0o755), ("data", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "sub").mkdir()
    return tmp_path


def test_the_first_executable_in_path_is_found(directory: Path) -> None:
    assert look_path("tool", [f"PATH=/nonexistent:{directory}"]) == str(directory / "tool")


def test_the_last_path_variable_counts(directory: Path) -> None:
    assert look_path("tool", ["PATH=/nonexistent", f"PATH={directory}"]) == str(directory / "tool")


@pytest.mark.parametrize("name", ["data", "sub", "absent", ""])
def test_what_is_no_program_is_not_found_in_path(directory: Path, name: str) -> None:
    with pytest.raises(StartFailed) as caught:
        look_path(name, [f"PATH={directory}"])
    assert caught.value.text == f'exec: "{name}": executable file not found in $PATH'


@pytest.mark.parametrize(
    ("name", "text"),
    [("data", "permission denied"), ("sub", "is a directory"), ("absent", "stat {path}: no such file or directory")],
)
def test_a_name_with_a_slash_is_taken_as_it_is(directory: Path, name: str, text: str) -> None:
    path = str(directory / name)
    with pytest.raises(StartFailed) as caught:
        look_path(path, [])
    assert caught.value.text == f'exec: "{path}": {text.format(path=path)}'


def test_a_program_in_a_relative_path_entry_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    with pytest.raises(StartFailed, match="relative to current directory"):
        look_path("tool", ["PATH=."])


def test_without_path_nothing_is_found() -> None:
    with pytest.raises(StartFailed, match="not found in \\$PATH"):
        look_path("sh", ["HOME=/"])


@pytest.mark.parametrize(
    ("text", "quoted"), [("a b", '"a b"'), ('a"b\\', '"a\\"b\\\\"'), ("a\n\x01", '"a\\n\\x01"'), ("ä", '"ä"')]
)
def test_quoting_is_gos(text: str, quoted: str) -> None:
    assert go_quoted(text) == quoted


def test_our_own_executable_is_refused_directly_and_as_an_interpreter(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_bytes(b"\x7fELF")
    script = tmp_path / "script"
    script.write_text(f"#!  {own} -x\n")
    outer = tmp_path / "outer"
    outer.write_text(f"#!{script}\n")
    status = own.stat()
    for path in (own, script, outer):
        with pytest.raises(StartFailed, match="permission denied"):
            refuse_own_executable(str(path), (status.st_dev, status.st_ino))
    refuse_own_executable("/bin/sh", (status.st_dev, status.st_ino))
    refuse_own_executable(str(tmp_path / "absent"), (status.st_dev, status.st_ino))
