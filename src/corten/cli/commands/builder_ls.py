"""`corten buildx ls` and `inspect`: the one builder that there is, the engine."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME, _DRIVER = "default", "corten"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _list(call: Call) -> None:
    version = call.client.call("GET", "/version")
    rows = [
        ("NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS"),
        (f"{_NAME}*", _DRIVER, "", "", ""),
        (rf" \_ {_NAME}", rf" \_ {_NAME}", "running", _build_version(version), _platforms(call, version)),
    ]
    widths = [max(len(row[column]) for row in rows) + 3 for column in range(4)]
    for row in rows:
        text = "".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True))
        sys.stdout.write(f"{text}\n")


def _inspect(call: Call) -> None:
    name = call.arguments[0] if call.arguments else call.values["builder"] or _NAME
    if name != _NAME:
        raise CliError(f'ERROR: no builder "{name}" found')
    version = call.client.call("GET", "/version")
    rows = [
        ("Name:", _NAME), ("Driver:", _DRIVER), ("", ""), ("Nodes:", ""), ("Name:", _NAME), ("Endpoint:", _NAME),
        ("Status:", "running"), ("BuildKit version:", _build_version(version)),
        ("Platforms:", _platforms(call, version)),
    ]  # fmt: skip
    for key, value in rows[:2]:
        sys.stdout.write(f"{key:<9}{value}\n")
    for key, value in rows[2:4]:
        sys.stdout.write(f"{key}{value}\n")
    for key, value in rows[4:]:
        sys.stdout.write(f"{key:<18}{value}\n")


def _build_version(version: dict[str, Any]) -> str:
    return f"Corten {_own_version(version)}"


def _own_version(version: dict[str, Any]) -> str:
    for part in version.get("Components") or []:
        if part.get("Name") != "Engine" and str(part.get("Name")).lower().startswith("corten"):
            return str(part.get("Version"))
    return str(version.get("Version"))


def _platforms(call: Call, version: dict[str, Any]) -> str:
    """What runs there; of an engine that does not tell its own platform alone."""
    try:
        return ", ".join(call.client.call("GET", "/corten/platforms")["Platforms"])
    except ApiError:
        pass
    architecture = str(version.get("Arch"))
    return f"{version.get('Os')}/{_ARCHITECTURES.get(architecture, architecture)}"


LIST = Command("", _list)
INSPECT = Command(
    "[OPTIONS] [NAME]",
    _inspect,
    (
        Option("--bootstrap", "bool", "Start the builder first (it runs)"),
        Option("--builder", "string", "The builder: there is one, called default", hidden=True),
    ),
    most=1,
)
