"""`corten volume rm`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.cli.option import Option
from corten.client.query import quote


def volume_rm(call: Call) -> None:
    """Remove each volume."""
    query = {"force": call.values["force"]}

    def act(name: str) -> None:
        call.client.call("DELETE", f"/volumes/{quote(name)}", query=query)

    for_each(call.arguments, act)


COMMAND = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    volume_rm,
    (Option("-f, --force", "bool", "Do not fail for a volume that does not exist"),),
    least=1,
    most=None,
)
