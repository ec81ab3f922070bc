"""Each row of the table has its module, and each command its help, in which all options stand."""

from __future__ import annotations

import importlib

import pytest

from corten.cli import table
from corten.cli.command import Command
from corten.cli.commands.completion import candidates
from corten.cli.help import command_help, group_help, program_help


def _command(words: str) -> Command:
    row = table.resolve(words)
    assert row is not None
    command = getattr(importlib.import_module(f"corten.cli.commands.{row[0]}"), row[1])
    assert isinstance(command, Command)
    return command


@pytest.mark.parametrize("words", [*table.COMMANDS, *table.ALIASES])
def test_a_command_has_help(words: str) -> None:
    command = _command(words)
    text = command_help(command, words)
    assert text.startswith(f"Usage:  corten {words}")
    for option in command.options:
        assert option.hidden or f"--{option.long}" in text
    assert all(len(line) <= 100 for line in text.splitlines() if not line.startswith(("Usage", "  corten")))
    longs = [option.long for option in command.options]
    shorts = [option.short for option in command.options if option.short]
    assert len(longs) == len(set(longs))
    assert len(shorts) == len(set(shorts))
    assert longs == sorted(longs)


def test_no_module_of_commands_is_left_out() -> None:
    import pkgutil

    import corten.cli.commands

    found = {module.name for module in pkgutil.iter_modules(corten.cli.commands.__path__)}
    assert found == {row[0] for row in table.COMMANDS.values()}


def test_groups_and_the_program_list_their_commands() -> None:
    for group in table.GROUPS:
        for name in table.children(group):
            assert f"\n  {name} " in group_help(group)
    for name in [*table.children(""), *table.GROUPS, *table.OTHER]:
        assert f"\n  {name} " in program_help()


def _ask(path: str) -> object:
    return {
        "/containers/json?all=0": [{"Names": ["/up"]}],
        "/containers/json?all=1": [{"Names": ["/up"]}, {"Names": ["/down"]}],
        "/images/json": [{"RepoTags": ["busybox:latest"]}, {"RepoTags": None}],
        "/networks": [{"Name": "bridge"}],
        "/volumes": {"Volumes": [{"Name": "data"}]},
    }[path]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["stop", ""], ["up"]), (["rm", "-f", ""], ["up", "down"]), (["run", ""], ["busybox:latest", "busybox"]),
        (["network", "rm", ""], ["bridge"]), (["volume", "inspect", ""], ["data"]), (["container", "stop", ""], ["up"]),
    ],
)  # fmt: skip
def test_completion_offers_names(words: list[str], wanted: list[str]) -> None:
    assert candidates(words, _ask) == wanted


def test_completion_offers_commands_and_options() -> None:
    assert {"run", "image", "daemon"} <= set(candidates([""], _ask))
    assert "prune" in candidates(["image", ""], _ask)
    assert {"--rm", "--network"} <= set(candidates(["run", "--"], _ask))
