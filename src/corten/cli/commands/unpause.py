"""`corten unpause`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.client.query import quote


def unpause(call: Call) -> None:
    """Unpause each container."""

    def act(name: str) -> None:
        call.client.call("POST", f"/containers/{quote(name)}/unpause")

    for_each(call.arguments, act)


COMMAND = Command("CONTAINER [CONTAINER...]", unpause, least=1, most=None)
