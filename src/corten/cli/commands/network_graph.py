"""`corten network graph`: who talks to whom, as text for a terminal, as an SVG picture, or as data."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.network_graph.model import make_graph
from corten.cli.option import Option
from corten.client.errors import ApiError
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def graph(call: Call) -> None:
    """Ask for networks and containers, and draw them."""
    values = call.values
    names = call.arguments
    if names:
        networks = [call.client.call("GET", f"/networks/{quote(name)}") for name in names]
        networks = list({network["Id"]: network for network in networks}.values())
    else:
        networks = call.client.call("GET", "/networks") or []
    containers = call.client.call("GET", "/containers/json", query={"all": values["all"]}) or []
    found = make_graph(networks, containers, _services(call), asked=bool(names))
    form = values["format"]
    if form in ("", "text"):
        from corten.cli.network_graph.text import draw_text
        from corten.cli.terminal import size_of

        sys.stdout.write(draw_text(found, width=size_of(1)[1]))
    elif form == "svg":
        from corten.cli.network_graph.svg import draw_svg

        sys.stdout.write(draw_svg(found))
    else:
        from corten.cli.template.evaluate import render
        from corten.cli.template.lexer import TemplateError

        try:
            sys.stdout.write(render("{{json .}}" if form == "json" else form, found) + "\n")
        except TemplateError as error:
            raise CliError(f"template parsing error: {error.message}", status=64) from None


def _services(call: Call) -> list[dict[str, Any]]:
    """Those with addresses of their own; other engines know none."""
    try:
        return call.client.call("GET", "/corten/services") or []
    except ApiError as error:
        if error.status != 404:
            raise
        return []


COMMAND = Command(
    "[OPTIONS] [NETWORK...]",
    graph,
    (
        Option("-a, --all", "bool", "Show stopped containers too"),
        Option("--format", "string", "Format the output: 'text', 'svg', 'json', or a Go template"),
    ),
    most=None,
)
