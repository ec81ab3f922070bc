"""`corten events`."""

from __future__ import annotations

import sys
import time

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.filters import encode_filters
from corten.cli.human_time import rfc3339_local
from corten.cli.option import Option
from corten.cli.timestamps import api_timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def events(call: Call) -> None:
    """Print events as they come, for ever or until --until."""
    values = call.values
    now = time.time()
    try:
        since, until = api_timestamp(values["since"], now), api_timestamp(values["until"], now)
    except ValueError as error:
        raise CliError(str(error)) from None
    show = _shower(values["format"])
    query = {"since": since, "until": until, "filters": encode_filters(values["filter"])}
    for event in call.client.messages("GET", "/events", query=query):
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()


def _shower(form: str) -> Callable[[dict[str, Any]], str]:
    if not form:
        return _line
    from corten.cli.template.evaluate import execute
    from corten.cli.template.lexer import TemplateError
    from corten.cli.template.parser import parse

    try:
        template = parse("{{json .}}" if form == "json" else form)
    except TemplateError as error:
        raise CliError(f"Error parsing format: {error.message}", status=64) from None

    def show(event: dict[str, Any]) -> str:
        try:
            return execute(template, with_sorted_attributes(event))
        except TemplateError as error:
            raise CliError(error.message) from None

    return show


def with_sorted_attributes(event: dict[str, Any]) -> dict[str, Any]:
    """Maps are sorted in Go's JSON."""
    actor = event.get("Actor") or {}
    attributes = dict(sorted((actor.get("Attributes") or {}).items()))
    return {**event, "Actor": {**actor, "Attributes": attributes}} if actor else event


def _line(event: dict[str, Any]) -> str:
    """`2026-11-23T22:07:19.277727023Z container start 0123 (image=busybox, name=x)`."""
    nanoseconds = event.get("timeNano") or 0
    when = ""
    if nanoseconds:
        when = rfc3339_local(nanoseconds // 10**9, nanoseconds % 10**9) + " "
    elif event.get("time"):
        when = rfc3339_local(event["time"], 0) + " "
    actor = event.get("Actor") or {}
    text = f"{when}{event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if attributes:
        text += " (" + ", ".join(f"{name}={value}" for name, value in sorted(attributes.items())) + ")"
    return text


COMMAND = Command(
    "[OPTIONS]",
    events,
    (
        Option("-f, --filter", "filter", "Show only what matches"),
        Option("--format", "string", "Format the output: 'json', or a Go template"),
        Option("--since", "string", "Show what happened since this time too"),
        Option("--until", "string", "End at this time"),
    ),
)
