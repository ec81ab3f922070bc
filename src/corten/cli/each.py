"""Commands that do one thing to each of several names: print the names that worked, tell the failures, exit 1."""

from __future__ import annotations

import sys

from corten.cli.errors import ExitStatus
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def for_each(names: Sequence[str], act: Callable[[str], str | None]) -> None:
    """Call `act` for each name and print what it returns (the name for None, nothing for ""); go on after an error."""
    failed = False
    for name in names:
        try:
            text = act(name)
        except ApiError as error:
            sys.stdout.flush()
            sys.stderr.write(f"Error response from daemon: {error.message}\n")
            failed = True
            continue
        if text != "":
            sys.stdout.write(f"{name if text is None else text}\n")
    if failed:
        raise ExitStatus(1)
