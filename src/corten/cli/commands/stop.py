"""`corten stop` and `corten restart`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.cli.option import Option
from corten.client.query import quote


def stop(call: Call) -> None:
    """Stop each container."""
    stop_each(call, "stop")


def stop_each(call: Call, verb: str) -> None:
    """POST /containers/{name}/{verb} with the signal and the time to wait."""
    values = call.values
    query: dict[str, object] = {"signal": values["signal"]}
    for name in ("timeout", "time"):
        if values.given(name):
            query["t"] = str(values[name])

    def act(name: str) -> None:
        call.client.call("POST", f"/containers/{quote(name)}/{verb}", query=query)

    for_each(call.arguments, act)


OPTIONS = (
    Option("-s, --signal", "string", "Signal to send to the container"),
    Option("--time", "int", "Seconds to wait", hidden=True),
    Option("-t, --timeout", "int", "Seconds to wait before the container is killed"),
)
COMMAND = Command("[OPTIONS] CONTAINER [CONTAINER...]", stop, OPTIONS, least=1, most=None)
