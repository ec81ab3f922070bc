"""`--call`: what is asked about a Dockerfile instead of a build, and how the answer is printed. Pure."""

from __future__ import annotations

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = {"": "", "build": "", "check": "lint", "lint": "lint", "outline": "outline", "targets": "targets"}
_FORMATS = ("", "text", "json")


class Called:
    """What is called: the engine's name of it, empty for a build; and whether the answer is printed as JSON."""

    __slots__ = ("is_json", "name")

    def __init__(self, name: str, *, is_json: bool = False) -> None:
        self.name = name
        self.is_json = is_json

    def report(self, answer: dict[str, str], lint: dict[str, Any], dockerfile: str) -> str:
        """What is printed of the answer (`result.json`, `result.txt`), or of what the checks found."""
        if self.name != "lint":
            return answer["result.json"] + "\n" if self.is_json else answer["result.txt"]
        if not self.is_json:
            from corten.cli.build import findings

            return findings.check_report(lint, dockerfile)
        import json

        return json.dumps(lint, indent=2, ensure_ascii=False) + "\n"


def _fields(text: str) -> list[str]:
    from corten.cli.create.csv_fields import split_fields

    return split_fields(text)


def parse_call(text: str, *, is_check: bool) -> Called:
    """`outline`, `targets,format=json` and the like; `is_check` is --check. Raises CliError."""
    if is_check:
        text = "check" if text in ("", "build") else text
    try:
        name, *fields = [text] if text in _NAMES else _fields(text)
    except ValueError as error:
        raise CliError(f"invalid --call {text!r}: {error}") from None
    form = ""
    for field in fields:
        key, _, value = field.partition("=")
        if key == "format" and value in _FORMATS:
            form = value
        elif key != "ignorestatus":
            raise CliError(f"invalid --call {text!r}: only format=text and format=json are known, not {field!r}")
    if name not in _NAMES:
        raise CliError(f"--call={name} is not supported: it may be build, check, outline or targets")
    if is_check and _NAMES[name] != "lint":
        raise CliError("conflicting options: cannot specify both --check and --call")
    return Called(_NAMES[name], is_json=form == "json")
