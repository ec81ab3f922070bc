"""`corten attach`."""

from __future__ import annotations

from corten.cli.attached import AttachedContainer
from corten.cli.command import Call, Command
from corten.cli.commands.run import check_terminal
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client.query import quote


def attach(call: Call) -> int:
    """Attach until the container ends; returns its exit status."""
    values, client, name = call.values, call.client, call.arguments[0]
    found = client.call("GET", f"/containers/{quote(name)}/json")
    state, config = found["State"], found["Config"]
    if not state["Running"]:
        raise CliError("You cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise CliError("You cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise CliError("You cannot attach to a restarting container, wait until it is running")
    stdin = bool(config["OpenStdin"]) and not values["no-stdin"]
    if stdin and config["Tty"]:
        check_terminal()
    container = found["Id"]
    wait = client.send("POST", f"/containers/{container}/wait", connection=client.connection())
    attached = AttachedContainer(
        client,
        container,
        tty=bool(config["Tty"]),
        stdin=stdin,
        proxy_signals=values["sig-proxy"],
        detach_keys=values["detach-keys"],
        redraw=True,
    )
    with attached:
        client.answer(wait)
        if not attached.copy():
            raise CliError("read escape sequence")
        return attached.exit_status(wait)


COMMAND = Command(
    "[OPTIONS] CONTAINER",
    attach,
    (
        Option("--detach-keys", "string", "Keys that detach from the container"),
        Option("--no-stdin", "bool", "Do not attach stdin"),
        Option("--sig-proxy", "bool", "Pass signals on to the process", default=True),
    ),
    least=1,
    most=1,
)
