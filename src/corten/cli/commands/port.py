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
        if not key.partition("/")[0].isdigit():
            raise CliError(f"invalid container port '{wanted}': a number, perhaps with /tcp, /udp or /sctp, is wanted")
        if not ports.get(key):
            raise CliError(f"no public port '{key}' published for {name}")
        lines = [_address(binding) for binding in ports[key]]
    else:
        for key in sorted(ports, key=lambda text: (int(text.partition("/")[0]), text)):
            lines += [f"{key} -> {_address(binding)}" for binding in ports[key] or []]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _address(binding: dict[str, str]) -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


COMMAND = Command("CONTAINER [PRIVATE_PORT[/PROTO]]", port, least=1, most=2)
