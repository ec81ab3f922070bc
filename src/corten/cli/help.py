"""The texts of `--help`, of groups, and of commands that do not exist. Never loaded by a command that runs."""

from __future__ import annotations

import sys

from corten.cli import table
from corten.cli.command import Command, usage_line
from corten.cli.errors import CliError
from corten.cli.option import Option

_WIDTH = 79
_MIN_COLUMN = 24
_CLOSEST = 0.5


def program_help() -> str:
    """`corten --help`."""
    from corten.cli.global_options import global_options

    top = table.children("")
    lines = [
        "Usage:  corten [OPTIONS] COMMAND",
        "",
        "A container engine that speaks Docker's API",
        "",
        "Common Commands:",
    ]
    lines += [f"  {name:<12}{top[name]}" for name in table.COMMON]
    lines += ["", "Management Commands:"]
    lines += [f"  {name:<12}{summary}" for name, summary in table.GROUPS.items()]
    lines += ["", "Commands:"]
    lines += [f"  {name:<12}{summary}" for name, summary in top.items() if name not in table.COMMON]
    lines += ["", "Parts of the Engine:"]
    lines += [f"  {name:<12}{summary}" for name, summary in table.OTHER.items()]
    lines += ["", "Global Options:", *option_lines(global_options())]
    lines += ["", "Run 'corten COMMAND --help' for more information on a command."]
    return "\n".join(lines) + "\n"


def group_help(group: str) -> str:
    """`corten image`."""
    lines = [f"Usage:  corten {group} COMMAND", "", table.GROUPS[group], "", "Commands:"]
    lines += [f"  {name:<12}{summary}" for name, summary in table.children(group).items()]
    lines += ["", f"Run 'corten {group} COMMAND --help' for more information on a command."]
    return "\n".join(lines) + "\n"


def command_help(command: Command, words: str) -> str:
    """`corten run --help`."""
    row = table.resolve(words)
    lines = [f"Usage:  {usage_line(command, f'corten {words}')}", "", command.text or (row[2] if row else "")]
    names = table.same_command(words)
    if names:
        lines += ["", "Aliases:", "  " + ", ".join(f"corten {name}" for name in names)]
    shown = [option for option in command.options if not option.hidden]
    if shown:
        lines += ["", "Options:", *option_lines(shown)]
    return "\n".join(lines) + "\n"


def option_lines(options: list[Option] | tuple[Option, ...]) -> list[str]:
    """Two columns, the second wrapped."""
    left = []
    for option in options:
        dash = f"-{option.short}, " if option.short else "    "
        kind = "" if option.kind == "bool" else f" {option.kind}"
        left.append(f"  {dash}--{option.long}{kind}")
    column = max(len(text) for text in left) + 3
    lines = []
    for text, option in zip(left, options, strict=True):
        first, *others = _wrap(_described(option), max(_WIDTH - column, _MIN_COLUMN))
        lines.append(f"{text:<{column}}{first}".rstrip())
        lines += [" " * column + other for other in others]
    return lines


def _described(option: Option) -> str:
    default = option.shown
    if not default and option.default not in (None, False, "", 0):
        default = f'"{option.default}"' if option.kind == "string" else str(option.default).lower()
    return f"{option.help} (default {default})" if default else option.help


def _wrap(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def without_command(words: list[str]) -> int:
    """What to do when the words name no command: help for a group, else CliError with what was perhaps meant."""
    first, *rest = words
    if first == "help":
        return _help_topic(rest)
    if first in table.GROUPS:
        if not rest:  # as Docker: what was not asked for goes to stderr
            sys.stderr.write(group_help(first))
            return 0
        if rest[0] in ("--help", "-h", "help"):
            sys.stdout.write(group_help(first))
            return 0
        if rest[0].startswith("-"):
            raise CliError(
                f"{_unknown_flag(rest[0])}\n\nUsage:  corten {first}\n\n"
                f"Run 'corten {first} --help' for more information",
                status=125,
            )
        near = _suggestions(rest[0], list(table.children(first)))
        raise CliError(
            f"unknown command: corten {first} {rest[0]}\n\nUsage:  corten {first}\n\n"
            f"{near}Run 'corten {first} --help' for more information",
            prefixed=True,
        )
    near = _suggestions(first, [*table.children(""), *table.GROUPS, *table.OTHER])
    raise CliError(f"unknown command: corten {first}\n\n{near}Run 'corten --help' for more information", prefixed=True)


def _unknown_flag(text: str) -> str:
    if text.startswith("--"):
        return f"unknown flag: {text.partition('=')[0]}"
    return f"unknown shorthand flag: {text[1:2]!r} in {text}"


def _help_topic(words: list[str]) -> int:
    if not words:
        sys.stdout.write(program_help())
        return 0
    name = " ".join(words)
    row = table.resolve(name)
    if row is not None:
        module = __import__(f"corten.cli.commands.{row[0]}", fromlist=("x",))
        sys.stdout.write(command_help(getattr(module, row[1]), name))
        return 0
    if name in table.GROUPS:
        sys.stdout.write(group_help(name))
        return 0
    raise CliError(f"unknown help topic: {name}")


def _suggestions(word: str, names: list[str]) -> str:
    """A "did you mean" paragraph, empty when nothing is near."""
    import difflib

    near = difflib.get_close_matches(word, names, n=3, cutoff=_CLOSEST)
    near = [name for name in near if sorted(name) == sorted(word)] or near[:3]
    if not near:
        return ""
    return "Did you mean " + " or ".join(f"'{name}'" for name in near) + "?\n\n"
