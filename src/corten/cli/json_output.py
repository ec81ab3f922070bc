"""--format of commands that draw for people, and for programs give their answer as it is: `json`, or nothing."""

from __future__ import annotations

import sys

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def wants_json(text: str) -> bool:
    """Whether --format asks for JSON. Raises CliError for anything else."""
    if text not in ("", "json"):
        raise CliError(f'unknown format "{text}": only "json" is offered')
    return text == "json"


def write_json(value: Any) -> None:
    """Print the answer on one line."""
    from corten.cli.template.printing import go_json

    sys.stdout.write(go_json(value) + "\n")
