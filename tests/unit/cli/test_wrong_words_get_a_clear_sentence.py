"""Words that name no command, groups without one, and global options that contradict each other."""

from __future__ import annotations

import pytest

from corten.cli.main import main


def test_a_mistyped_command_is_told_with_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rnu"]) == 1
    assert capsys.readouterr().err == (
        "corten: unknown command: corten rnu\n\nDid you mean 'run'?\n\nRun 'corten --help' for more information\n"
    )


def test_a_group_alone_gets_its_help_on_stderr_and_asked_help_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image"]) == 0
    alone = capsys.readouterr()
    assert main(["image", "--help"]) == 0
    asked = capsys.readouterr()
    assert (alone.out, asked.err) == ("", "")
    assert alone.err == asked.out
    assert asked.out.startswith("Usage:  corten image COMMAND\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-c", "elsewhere", "ps"], 'context "elsewhere": context not found\nonly "default" exists: use -H\n'),
        (["-c", "default", "-H", "unix:///x", "ps"], "conflicting options: cannot specify both --host and --context\n"),
        (["-H", "unix:///x", "-H", "unix:///y", "ps"], "Specify only one -H\n"),
        (["--log-level", "loud", "ps"], "Unable to parse logging level: loud\n"),
        (["-H", "carrier://pigeon", "ps"], "unable to parse docker host `carrier://pigeon`\n"),
    ],
)
def test_global_options_that_cannot_work_are_refused(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err == text
