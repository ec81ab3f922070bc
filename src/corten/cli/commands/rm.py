"""`corten rm`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.cli.option import Option
from corten.client.errors import ApiError
from corten.client.query import quote


def rm(call: Call) -> None:
    """Remove each container; with --force a missing one is no error."""
    values = call.values
    query = {"v": values["volumes"], "link": values["link"], "force": values["force"]}

    def remove(name: str) -> str | None:
        try:
            call.client.call("DELETE", f"/containers/{quote(name.strip('/'))}", query=query)
        except ApiError as error:
            if not (values["force"] and error.status == 404):
                raise
            import sys

            sys.stderr.write(f"Error response from daemon: {error.message}\n")
            return ""
        return None

    for_each(call.arguments, remove)


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    rm,
    (
        Option("-f, --force", "bool", "Kill it first when it is running"),
        Option("-l, --link", "bool", "Remove this link"),
        Option("-v, --volumes", "bool", "Remove its anonymous volumes too"),
    ),
    least=1,
    most=None,
)
