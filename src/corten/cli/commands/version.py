"""`corten version`."""

from __future__ import annotations

import os
import sys

from corten import __version__
from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.human_time import parse_rfc3339
from corten.cli.option import Option
from corten.client.errors import EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64"}


def _client() -> dict[str, Any]:
    machine = os.uname()
    return {
        "Version": __version__,
        "ApiVersion": "",
        "PythonVersion": ".".join(str(part) for part in sys.version_info[:3]),
        "Os": machine.sysname.lower(),
        "Arch": _ARCHITECTURES.get(machine.machine, machine.machine),
        "Context": "default",
    }


def version(call: Call) -> None:
    """Print both versions; the client's alone when no engine answers."""
    client, server, failure = _client(), None, None
    try:
        server = call.client.call("GET", "/version")
        client["ApiVersion"] = server.get("ApiVersion", "")
    except EngineUnreachable as error:
        failure = error
    form = call.values["format"]
    if form:
        _by_template({"Client": client, "Server": server}, "{{json .}}" if form == "json" else form)
    else:
        sys.stdout.write(_text(client, server))
    if failure is not None:
        raise failure


def _by_template(data: dict[str, Any], form: str) -> None:
    from corten.cli.template.evaluate import render
    from corten.cli.template.lexer import TemplateError

    try:
        sys.stdout.write(render(form, data) + "\n")
    except TemplateError as error:
        raise CliError(f"template parsing error: {error.message}", status=64) from None


def _text(client: dict[str, Any], server: dict[str, Any] | None) -> str:
    lines = [
        "Client:",
        f" Version:           {client['Version']}",
        f" API version:       {client['ApiVersion'] or 'unknown'}",
        f" Python version:    {client['PythonVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
        f" Context:           {client['Context']}",
    ]
    if server is not None:
        platform = (server.get("Platform") or {}).get("Name", "")
        lines += ["", f"Server: {platform}".rstrip()]
        for component in server.get("Components") or [_as_component(server)]:
            lines.append(f" {component['Name']}:")
            lines.append(f"  {'Version:':<17}{component['Version']}")
            details = component.get("Details") or {}
            lines += _details(details, engine=component["Name"] == "Engine")
    return "\n".join(lines) + "\n"


def _as_component(server: dict[str, Any]) -> dict[str, Any]:
    return {"Name": "Engine", "Version": server.get("Version", ""), "Details": server}


def _details(details: dict[str, Any], *, engine: bool) -> list[str]:
    if not engine:
        return [f"  {name + ':':<17}{value}" for name, value in sorted(details.items())]
    lines = [f"  {'API version:':<17}{details.get('ApiVersion')} (minimum version {details.get('MinAPIVersion')})"]
    for name, field in (("Go version", "GoVersion"), ("Python version", "PythonVersion"), ("Git commit", "GitCommit")):
        if details.get(field):
            lines.append(f"  {name + ':':<17}{details[field]}")
    if details.get("BuildTime"):
        lines.append(f"  {'Built:':<17}{_built(details['BuildTime'])}")
    lines.append(f"  {'OS/Arch:':<17}{details.get('Os')}/{details.get('Arch')}")
    lines.append(f"  {'Experimental:':<17}{str(details.get('Experimental', False)).lower()}")
    return lines


def _built(text: str) -> str:
    """`Fri May 30 12:07:14 2025`."""
    import time

    try:
        return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(parse_rfc3339(text)[0]))
    except ValueError:
        return text


COMMAND = Command(
    "[OPTIONS]",
    version,
    (Option("-f, --format", "string", "Format the output: 'json', or a Go template"),),
)
