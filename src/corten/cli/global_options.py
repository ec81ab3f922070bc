"""The options before the command: `corten -H unix:///x.sock ps`."""

from __future__ import annotations

import os
import sys

from corten.cli.config_file import config_folder
from corten.cli.errors import CliError, ExitStatus, FlagError
from corten.cli.option import Option, Values, parse

_LOG_LEVELS = frozenset(("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace", ""))


def global_options() -> tuple[Option, ...]:
    """The table, with the defaults of this user."""
    folder = config_folder()
    return (
        Option("--config", "string", "Folder of the client's configuration", shown=f'"{folder}"'),
        Option("-c, --context", "string", 'Name of the context; only "default" exists'),
        Option("-D, --debug", "bool", "Show more when something goes wrong"),
        Option("-H, --host", "list", "Where the engine listens: unix://, tcp:// or ssh://"),
        Option("-l, --log-level", "string", 'Log level ("debug", "info", "warn", "error", "fatal")', shown='"info"'),
        Option("--tls", "bool", "Use TLS; implied by --tlsverify"),
        Option("--tlscacert", "string", "Trust only certificates signed by this CA", shown=f'"{folder}/ca.pem"'),
        Option("--tlscert", "string", "Certificate of this client", shown=f'"{folder}/cert.pem"'),
        Option("--tlskey", "string", "Key of this client", shown=f'"{folder}/key.pem"'),
        Option("--tlsverify", "bool", "Use TLS and verify the engine"),
        Option("-v, --version", "bool", "Print the version and end"),
    )


def read_global_options(arguments: list[str]) -> tuple[dict[str, object], list[str]]:
    """Split them off; prints help or the version and raises ExitStatus when that was asked for."""
    options = global_options()
    try:
        values, rest, wants_help = parse(options, arguments, interspersed=False)
    except FlagError as error:
        raise FlagError(
            f"{error.message}\n\nUsage:  corten [OPTIONS] COMMAND [ARG...]\n\nRun 'corten --help' for more information",
            status=125,
        ) from None
    if values["version"]:
        from corten import __version__

        sys.stdout.write(f"Corten version {__version__}\n")
        raise ExitStatus(0)
    if wants_help or not rest:
        from corten.cli.help import program_help

        sys.stdout.write(program_help())
        raise ExitStatus(0)
    if values.given("config"):
        os.environ["DOCKER_CONFIG"] = values["config"]
    _check(values)
    return {option.long: values[option.long] for option in options if values.given(option.long)}, rest


def _check(values: Values) -> None:
    """Values that can never work, in Docker's words."""
    if (values["log-level"] or "").lower() not in _LOG_LEVELS:
        raise CliError(f"Unable to parse logging level: {values['log-level']}")
    if len(values["host"]) > 1:
        raise CliError("Specify only one -H")
    if values.given("context"):
        if values.given("host"):
            raise CliError("conflicting options: cannot specify both --host and --context")
        if values["context"] not in ("", "default"):
            raise CliError(f'context "{values["context"]}": context not found', hint='only "default" exists: use -H')
