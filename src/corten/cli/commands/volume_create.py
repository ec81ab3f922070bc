"""`corten volume create`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.create.env_files import label
from corten.cli.errors import CliError
from corten.cli.option import Option


def volume_create(call: Call) -> None:
    """Create and print the name."""
    values = call.values
    name = values["name"]
    if call.arguments:
        if name:
            raise CliError(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
            )
        name = call.arguments[0]
    body = {
        "Name": name,
        "Driver": values["driver"],
        "DriverOpts": dict(values["opt"]),
        "Labels": {key: value for key, _, value in (text.partition("=") for text in values["label"])},
    }
    answer = call.client.call("POST", "/volumes/create", body=body)
    sys.stdout.write(f"{answer['Name']}\n")


COMMAND = Command(
    "[OPTIONS] [VOLUME]",
    volume_create,
    (
        Option("-d, --driver", "string", "Driver of the volume", default="local"),
        Option("--label", "list", "Set metadata", parse=label),
        Option("--name", "string", "Name of the volume", hidden=True),
        Option("-o, --opt", "map", "Set options of the driver", shown="map[]"),
    ),
    most=1,
)
