"""`corten logout`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.credentials import HUB_SERVER, erase_credentials, host_of, server_key
from corten.cli.errors import CliError


def logout(call: Call) -> None:
    """Forget the credentials of a registry; the engine keeps none."""
    server = server_key(host_of(call.arguments[0])) if call.arguments else HUB_SERVER
    sys.stdout.write(f"Removing login credentials for {server}\n")
    try:
        erase_credentials(server)
    except CliError as error:
        sys.stderr.write(f"WARNING: could not erase credentials:\n{error.message}\n")


COMMAND = Command("[SERVER]", logout, most=1, text="Log out from a registry, Docker Hub when none is named")
