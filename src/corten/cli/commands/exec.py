"""`corten exec`."""

from __future__ import annotations

from os import isatty

from corten.cli.attached import resize_terminal
from corten.cli.command import Call, Command
from corten.cli.commands.run import check_terminal
from corten.cli.create.env_files import environment, environment_variable
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.cli.streams import Detached, StreamSession
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.detach_keys import DetachFilter


def exec_(call: Call) -> int:
    """Run; returns the command's exit status."""
    values, client = call.values, call.client
    name, *command = call.arguments
    detach, tty, stdin = values["detach"], values["tty"], values["interactive"]
    try:
        variables = environment(values["env-file"], values["env"])
    except CliError as error:
        raise CliError(error.message) from None
    body: dict[str, Any] = {
        "User": values["user"],
        "Privileged": values["privileged"],
        "Tty": tty,
        "Detach": detach,
        "AttachStdin": stdin and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "DetachKeys": values["detach-keys"] or _keys(tty and stdin),
        "Env": variables,
        "WorkingDir": values["workdir"],
        "Cmd": command,
    }
    body = {field: value for field, value in body.items() if value}
    if not detach and stdin and tty and not isatty(0):
        client.call("GET", f"/containers/{quote(name)}/json")  # an unknown container is the first thing to tell
        check_terminal()
    exec_id: str = client.call("POST", f"/containers/{quote(name)}/exec", body=body)["Id"]
    start: dict[str, Any] = {"Detach": detach, "Tty": tty}
    if detach:
        client.call("POST", f"/exec/{exec_id}/start", body=start)
        return 0
    if tty:
        from corten.cli.terminal import size_of

        rows, columns = size_of(1)
        if rows and columns:
            start["ConsoleSize"] = [rows, columns]
    if not _attached(call, exec_id, start):
        raise CliError("read escape sequence")
    answer = client.call("GET", f"/exec/{exec_id}/json")
    return int(answer.get("ExitCode") or 0)


def _attached(call: Call, exec_id: str, start: dict[str, Any]) -> bool:
    """Carry the streams; False when the user detached."""
    from corten.cli.signals import SIGWINCH, SignalQueue
    from corten.cli.terminal import RawMode

    client, tty, stdin = call.client, bool(start["Tty"]), call.values["interactive"]
    conn = client.answer(client.hijack(f"/exec/{exec_id}/start", body=start))
    detach: DetachFilter | None = None
    raw: RawMode | None = None
    signals = SignalQueue(proxy=False, resize=True) if tty else None

    def on_signal(number: int) -> None:
        if number == SIGWINCH:
            resize_terminal(client, f"/exec/{exec_id}/resize")

    if tty:
        resize_terminal(client, f"/exec/{exec_id}/resize")
        if stdin and isatty(0):
            from corten.cli.detach_keys import DEFAULT, DetachFilter, parse_keys

            detach = DetachFilter(parse_keys(call.values["detach-keys"] or _keys(wanted=True) or DEFAULT))
            raw = RawMode(0).__enter__()
    session = StreamSession(
        conn, multiplexed=not tty, stdin=0 if stdin else -1, detach=detach, signals=signals, on_signal=on_signal
    )
    try:
        session.run()
    except Detached:
        return False
    finally:
        if raw is not None:
            raw.__exit__()
        if signals is not None:
            signals.close()
        conn.close()
    return True


def _keys(wanted: bool) -> str:
    if not wanted:
        return ""
    from corten.cli.config_file import read_config

    return str(read_config().get("detachKeys") or "")


COMMAND = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    exec_,
    (
        Option("-d, --detach", "bool", "Run the command in the background"),
        Option("--detach-keys", "string", "Keys that detach from the command"),
        Option("-e, --env", "list", "Set environment variables", parse=environment_variable),
        Option("--env-file", "list", "Read environment variables from a file"),
        Option("-i, --interactive", "bool", "Keep stdin open even if not attached"),
        Option("--privileged", "bool", "Give the command all privileges"),
        Option("-t, --tty", "bool", "Allocate a pseudo-terminal"),
        Option("-u, --user", "string", 'User name or ID (format: "<name|uid>[:<group|gid>]")'),
        Option("-w, --workdir", "string", "Working directory in the container"),
    ),
    least=2,
    most=None,
    interspersed=False,
)
