"""`corten kill`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.cli.option import Option
from corten.client.query import quote


def kill(call: Call) -> None:
    """Signal each container."""
    query = {"signal": call.values["signal"]}

    def act(name: str) -> None:
        call.client.call("POST", f"/containers/{quote(name)}/kill", query=query)

    for_each(call.arguments, act)


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    kill,
    (Option("-s, --signal", "string", "Signal to send to the container"),),
    least=1,
    most=None,
)
