"""`corten run`: create, attach, start, wait. The path whose milliseconds count.

Attach and wait are asked on connections of their own at once, since the engine registers both before the start; their
answers are read together. Order and behaviour follow Docker's client.
"""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.create.body import create_body
from corten.cli.create.create import create_container
from corten.cli.create.options import OPTIONS
from corten.cli.errors import CliError
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.create.body import Body
    from corten.client.api import Client
    from corten.client.connection import Connection


def run(call: Call) -> int:
    """Run; returns the container's exit status."""
    values = call.values
    if values["disable-content-trust"] is False:
        raise CliError("content trust is not supported", status=125)
    image, *command = call.arguments
    detach = values["detach"]
    body = create_body(values, image, command)
    if detach:
        if values.given("attach"):
            raise CliError("conflicting options: cannot specify both --attach and --detach")
        body["AttachStdin"] = body["AttachStdout"] = body["AttachStderr"] = False
        body.pop("StdinOnce", None)
    elif body["AttachStdin"] and body.get("Tty"):
        check_terminal()
    container = create_container(call, body, meanwhile=None if detach else _load_attached)
    if detach:
        return _start_detached(call.client, container)
    attached = any(body[name] for name in ("AttachStdin", "AttachStdout", "AttachStderr"))
    wait = call.client.send(
        "POST",
        f"/containers/{container}/wait",
        query={"condition": "removed" if values["rm"] else "next-exit"},
        connection=call.client.connection(),
    )
    if not attached:
        return _start_detached(call.client, container)
    return _run_attached(call, container, body, wait)


def _load_attached() -> None:
    """Import what comes next while the engine creates the container: 2 ms that nobody waits for."""
    import corten.cli.attached  # noqa: F401


def check_terminal() -> None:
    """A pseudo-terminal needs a terminal to be typed on."""
    import posix

    if not posix.isatty(0):
        raise CliError("the input device is not a TTY")


def _start_detached(client: Client, container: str) -> int:
    try:
        client.call("POST", f"/containers/{container}/start")
    except ApiError as error:
        raise not_started(error) from None
    finally:
        sys.stdout.write(f"{container}\n")
    return 0


def not_started(error: ApiError) -> CliError:
    """The error and exit status for a container that the engine could not start."""
    return CliError(f"Error response from daemon: {error.message}", status=start_status(error.message), prefixed=True)


def _run_attached(call: Call, container: str, body: Body, wait: Connection) -> int:
    from corten.cli.attached import AttachedContainer

    client = call.client
    attached = AttachedContainer(
        client,
        container,
        tty=bool(body.get("Tty")),
        stdin=body["AttachStdin"],
        stdout=body["AttachStdout"],
        stderr=body["AttachStderr"],
        proxy_signals=call.values["sig-proxy"],
        detach_keys=call.values["detach-keys"],
    )
    with attached:
        client.answer(wait)
        try:
            client.call("POST", f"/containers/{container}/start")
        except ApiError as error:
            if call.values["rm"]:
                wait.read_body()  # the engine removes it: afterwards its name is free
            raise not_started(error) from None
        if not attached.copy():
            return 0
        return attached.exit_status(wait)


def start_status(text: str) -> int:
    """The exit status for a container that could not be started, as Docker's client derives it."""
    lower = text.lower()
    if any(part in lower for part in ("executable file not found", "no such file or directory", "system cannot find")):
        return 127
    if "permission denied" in lower or "is a directory" in lower:
        return 126
    return 125


COMMAND = Command("[OPTIONS] IMAGE [COMMAND] [ARG...]", run, OPTIONS, least=1, most=None, interspersed=False)
