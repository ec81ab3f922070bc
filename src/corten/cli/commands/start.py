"""`corten start`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client.errors import ApiError
from corten.client.query import quote


def start(call: Call) -> int:
    """Start containers; with -a or -i stay attached to the one."""
    values, client = call.values, call.client
    if values["attach"] or values["interactive"]:
        if len(call.arguments) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _attached(call)
    failed = []
    query = {"checkpoint": values["checkpoint"], "checkpoint-dir": values["checkpoint-dir"]}
    for name in call.arguments:
        try:
            client.call("POST", f"/containers/{quote(name)}/start", query=query)
        except ApiError as error:
            sys.stdout.flush()
            sys.stderr.write(f"Error response from daemon: {error.message}\n")
            failed.append(name)
            continue
        sys.stdout.write(f"{name}\n")
    if failed:
        raise CliError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _attached(call: Call) -> int:
    from corten.cli.attached import AttachedContainer
    from corten.cli.commands.run import start_status

    values, client = call.values, call.client
    found = client.call("GET", f"/containers/{quote(call.arguments[0])}/json")
    container, config = found["Id"], found["Config"]
    condition = "removed" if found["HostConfig"].get("AutoRemove") else "next-exit"
    wait = client.send(
        "POST", f"/containers/{container}/wait", query={"condition": condition}, connection=client.connection()
    )
    attached = AttachedContainer(
        client,
        container,
        tty=bool(config["Tty"]),
        stdin=values["interactive"] and bool(config["OpenStdin"]),
        proxy_signals=values["sig-proxy"],
        detach_keys=values["detach-keys"],
    )
    with attached:
        client.answer(wait)
        try:
            client.call("POST", f"/containers/{container}/start")
        except ApiError as error:
            text = f"Error response from daemon: {error.message}"
            status = start_status(error.message)
            raise CliError(text, status=1 if status == 125 else status) from None
        if not attached.copy():
            return 0
        return attached.exit_status(wait)


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    start,
    (
        Option("-a, --attach", "bool", "Show the output and pass signals on"),
        Option("--checkpoint", "string", "Start from this checkpoint", hidden=True),
        Option("--checkpoint-dir", "string", "Where checkpoints are", hidden=True),
        Option("--detach-keys", "string", "Keys that detach from the container"),
        Option("-i, --interactive", "bool", "Attach stdin"),
        Option("--sig-proxy", "bool", "Pass signals on to the process", default=True, hidden=True),
    ),
    least=1,
    most=None,
)
