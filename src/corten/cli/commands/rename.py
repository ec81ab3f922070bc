"""`corten rename`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.client.errors import ApiError
from corten.client.query import quote


def rename(call: Call) -> None:
    """Give a container another name."""
    old, new = (name.strip() for name in call.arguments)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        call.client.call("POST", f"/containers/{quote(old)}/rename", query={"name": new})
    except ApiError as error:
        text = f"Error response from daemon: {error.message}\nError: failed to rename container named {old}"
        raise CliError(text) from None


COMMAND = Command("CONTAINER NEW_NAME", rename, least=2, most=2)
