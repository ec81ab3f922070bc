"""The command line's entry: global options, dispatch to one lazily imported command, errors to text and exit status.

On the path of every `corten run`: what is imported here is paid for each time. Runs in the user's process and speaks
to the engine through its API only.
"""

from __future__ import annotations

import gc
import posix
import sys

from corten.cli.errors import CliError, ExitStatus, FlagError
from corten.errors import CortenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corten.cli.command import Command
    from corten.client.api import Client

_RUN = frozenset(("run", "container run"))
_RUN_LIKE = frozenset((*_RUN, "create", "container create"))
_GARBAGE = 50_000  # objects before garbage is looked for: loading a command makes some thousands, and none of it
_INTERRUPTED = 130
_NOBODY_READS = 141  # 128 + SIGPIPE


def run_and_exit() -> None:
    """Run with the process's arguments and end it without the interpreter's slow farewell."""
    gc.set_threshold(_GARBAGE)
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _open_standard_streams()
    status = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or _NOBODY_READS
    except OSError as error:
        status = status or _report_os_error(error)
    posix._exit(status)


def _open_standard_streams() -> None:
    """Put /dev/null where the caller closed one: else a socket would become standard input or output."""
    null = posix.open("/dev/null", posix.O_RDWR)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            posix.dup2(null, fd)
            posix.set_inheritable(fd, True)
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 - for good
    if null > 2:
        posix.close(null)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except ExitStatus as stop:
        return stop.status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away: nothing can be said to it
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
        return _NOBODY_READS
    except CortenError as error:
        return report(error)
    except OSError as error:
        return _report_os_error(error)


def _report_os_error(error: OSError) -> int:
    """A full disk, a file that vanished: what the commands do not word themselves."""
    where = f"{error.filename}: " if error.filename else ""
    _flush()
    sys.stderr.write(f"corten: {where}{(error.strerror or str(error)).lower()}\n")
    return 1


def report(error: CortenError, *, prefix: str = "") -> int:
    """Print the error and return its exit status."""
    from corten.client.errors import ApiError

    text = error.message
    if isinstance(error, ApiError):
        text = f"Error response from daemon: {text}"
    if isinstance(error, CliError) and error.prefixed:
        prefix = "corten: "
    _flush()
    sys.stderr.write(f"{prefix}{text}\n")
    if error.hint:
        sys.stderr.write(f"{error.hint}\n")
    return error.status if isinstance(error, CliError) else 1


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        pass


def _dispatch(arguments: list[str]) -> int:
    settings: dict[str, object] = {}
    if not arguments or arguments[0].startswith("-"):
        from corten.cli.global_options import read_global_options

        settings, arguments = read_global_options(arguments)
    word = arguments[0]
    if word == "daemon":
        if sys.flags.no_site:  # the daemon's dependencies are in site-packages
            from corten.cli.launch import become_daemon

            become_daemon(arguments[1:])
        from corten.daemon.main import main as daemon_main

        return daemon_main(arguments[1:])
    if word == "oci":
        from corten.runtime.oci.main import main as oci_main

        return oci_main(arguments[1:])
    from corten.cli import table

    row = None if word in table.GROUPS else table.resolve(word)
    words, rest = word, arguments[1:]
    if row is None:
        if word in table.GROUPS and rest and (found := table.resolve(f"{word} {rest[0]}")):
            row, words, rest = found, f"{word} {rest[0]}", rest[1:]
        else:
            from corten.cli.help import without_command

            return without_command(arguments)
    module = __import__(f"corten.cli.commands.{row[0]}", fromlist=("x",))
    command: Command = getattr(module, row[1])
    return _run_command(command, words, rest, settings)


def _run_command(command: Command, words: str, arguments: list[str], settings: dict[str, object]) -> int:
    from corten.cli.command import Call, check_arguments
    from corten.cli.option import parse

    name = f"corten {words}"
    try:
        values, rest, wants_help = parse(command.options, arguments, interspersed=command.interspersed)
    except FlagError as error:
        from corten.cli.command import usage_line

        usage = usage_line(command, name)
        raise FlagError(
            f"{error.message}\n\nUsage:  {usage}\n\nRun '{name} --help' for more information", status=125
        ) from None
    if wants_help:
        from corten.cli.help import command_help

        sys.stdout.write(command_help(command, words))
        return 0
    check_arguments(command, name, len(rest))
    call = Call(name, values, rest, _client_maker(settings))
    if words not in _RUN_LIKE:
        return command.run(call) or 0
    try:
        return command.run(call) or 0
    except CortenError as error:
        if isinstance(error, CliError):
            if not error.prefixed:
                raise
        elif words not in _RUN:
            raise  # `create` words what the engine refuses like any other command
        status = report(error, prefix="corten: ")
        sys.stderr.write(f"\nRun '{name} --help' for more information\n")
        return status if isinstance(error, CliError) else _run_status(error)


def _run_status(error: CortenError) -> int:
    from corten.cli.commands.run import start_status
    from corten.client.errors import ApiError

    return start_status(error.message) if isinstance(error, ApiError) else 125


def _client_maker(settings: dict[str, object]) -> Callable[[], Client]:
    def make() -> Client:
        from corten.cli.engine import client_for

        return client_for(settings)

    return make
