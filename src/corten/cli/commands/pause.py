"""`corten pause`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.client.query import quote


def pause(call: Call) -> None:
    """Pause each container."""

    def act(name: str) -> None:
        call.client.call("POST", f"/containers/{quote(name)}/pause")

    for_each(call.arguments, act)


COMMAND = Command("CONTAINER [CONTAINER...]", pause, least=1, most=None)
