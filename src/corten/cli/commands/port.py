"""`corten port`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.client.query import quote


def port(call: Call) -> None:
    """List all published ports, or where one of them is published."""
    name = call.arguments[0]
    found = call.client.call("GET", f"/containers/{quote(name)}/json")
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    lines = []
    if len(call.arguments) > 1:
        wanted = call.arguments[1]
        key = wanted if "/" in wanted else f"{wanted}/tcp"
        number = key.partition("/")[0]
        if not number.isdigit():
            raise CliError(f'Error: invalid port ({wanted}): strconv.ParseUint: parsing "{number}": invalid syntax')
        if not ports.get(key):
            raise CliError(f"Error: No public port '{wanted}' published for {name}")
        lines = [_address(binding) for binding in ports[key]]
    else:
        for key in sorted(ports, key=lambda text: (int(text.partition("/")[0]), text)):
            lines += [f"{key} -> {_address(binding)}" for binding in ports[key] or []]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _address(binding: dict[str, str]) -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


COMMAND = Command("CONTAINER [PRIVATE_PORT[/PROTO]]", port, least=1, most=2)
