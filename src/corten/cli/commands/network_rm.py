"""`corten network rm`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import ExitStatus
from corten.cli.option import Option
from corten.client.errors import ApiError
from corten.client.query import quote


def network_rm(call: Call) -> None:
    """Remove each network; with --force a missing one is no failure."""
    failed = False
    for name in call.arguments:
        try:
            call.client.call("DELETE", f"/networks/{quote(name)}")
        except ApiError as error:
            if call.values["force"] and error.status == 404:
                continue
            sys.stdout.flush()
            sys.stderr.write(f"Error response from daemon: {error.message}\n")
            failed = True
            continue
        sys.stdout.write(f"{name}\n")
    if failed:
        sys.stderr.write("exit status 1\n")
        raise ExitStatus(1)


COMMAND = Command(
    "NETWORK [NETWORK...]",
    network_rm,
    (Option("-f, --force", "bool", "Do not fail for a network that does not exist"),),
    least=1,
    most=None,
)
