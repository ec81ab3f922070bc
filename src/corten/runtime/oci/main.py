"""`corten oci`: the OCI runtime command line, with runc's verbs and flags, so that other engines can call it.

One process per call. Failures go to stderr and to the file of --log in the form that containerd reads, and the exit
status is 1. Verbs live in the files beside this one and are loaded when used.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

from corten import __version__
from corten.errors import CortenError
from corten.runtime.failure import StartFailed
from corten.runtime.oci.state import DEFAULT_ROOT, OciError

# The module and the function of each verb.
VERBS = {
    "create": ("create", "create"),
    "run": ("create", "run"),
    "start": ("create", "start"),
    "state": ("inspect", "state"),
    "list": ("inspect", "list_"),
    "ps": ("inspect", "ps"),
    "events": ("inspect", "events"),
    "kill": ("delete", "kill"),
    "delete": ("delete", "delete"),
    "pause": ("delete", "pause"),
    "resume": ("delete", "resume"),
    "exec": ("execute", "exec_"),
    "update": ("update", "update"),
    "spec": ("describe", "spec"),
    "features": ("describe", "features"),
}
# Verbs that clone a process which runs a container's command: they must not be overwritten from inside it.
_SEALED = frozenset({"create", "run", "exec"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="corten oci", allow_abbrev=False, description="An OCI runtime.")
    parser.add_argument("--root", default=os.environ.get("CORTEN_OCI_ROOT") or DEFAULT_ROOT)
    parser.add_argument("--log", default="")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--systemd-cgroup", action="store_true")
    parser.add_argument("--rootless", default="auto")
    parser.add_argument("--criu", default="")
    version = f"corten oci version {__version__}\nspec: 1.2.0"
    parser.add_argument("--version", "-v", action="version", version=version)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *, container: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        if container:
            sub.add_argument("id", metavar="CONTAINER-ID")
        return sub

    _add_starting_verbs(verb)
    _add_other_verbs(verb)
    return parser


def _add_starting_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    for name, text in (("create", "create a container"), ("run", "create and run a container")):
        sub = verb(name, text)
        sub.add_argument("--bundle", "-b", default="")
        sub.add_argument("--console-socket", default="")
        sub.add_argument("--pid-file", default="")
        sub.add_argument("--no-pivot", action="store_true")
        sub.add_argument("--no-new-keyring", action="store_true")
        sub.add_argument("--preserve-fds", type=int, default=0)
        sub.add_argument("--detach", "-d", action="store_true")
        sub.add_argument("--keep", action="store_true")
        sub.add_argument("--no-subreaper", action="store_true")
    verb("start", "run the command of a created container")
    sub = verb("exec", "run one more command in a container", container=False)
    sub.add_argument("--console-socket", default="")
    sub.add_argument("--cwd", default="")
    sub.add_argument("--env", "-e", action="append", default=[])
    sub.add_argument("--tty", "-t", action="store_true")
    sub.add_argument("--user", "-u", default="")
    sub.add_argument("--additional-gids", "-g", action="append", type=int, default=[])
    sub.add_argument("--process", "-p", default="")
    sub.add_argument("--detach", "-d", action="store_true")
    sub.add_argument("--pid-file", default="")
    sub.add_argument("--process-label", default="")
    sub.add_argument("--apparmor", default="")
    sub.add_argument("--no-new-privs", action="store_true")
    sub.add_argument("--cap", "-c", action="append", default=[])
    sub.add_argument("--preserve-fds", type=int, default=0)
    sub.add_argument("--cgroup", action="append", default=[])
    sub.add_argument("--ignore-paused", action="store_true")
    sub.add_argument("id", metavar="CONTAINER-ID")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")


def _add_other_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    from corten.runtime.oci.inspect import parse_interval
    from corten.runtime.oci.update import FLAGS

    verb("state", "print a container's state as JSON")
    sub = verb("list", "list containers", container=False)
    sub.add_argument("--format", "-f", choices=("table", "json"), default="table")
    sub.add_argument("--quiet", "-q", action="store_true")
    sub = verb("ps", "list a container's processes", container=False)
    sub.add_argument("--format", "-f", choices=("table", "json"), default="table")
    sub.add_argument("id", metavar="CONTAINER-ID")
    sub.add_argument("options", nargs=argparse.REMAINDER, metavar="PS-OPTIONS")
    sub = verb("events", "print statistics and OOM events")
    sub.add_argument("--stats", action="store_true")
    sub.add_argument("--interval", type=parse_interval, default=5.0)
    sub = verb("kill", "signal a container")
    sub.add_argument("signal", nargs="?", default="SIGTERM")
    sub.add_argument("--all", "-a", action="store_true")
    sub = verb("delete", "remove a stopped container")
    sub.add_argument("--force", "-f", action="store_true")
    verb("pause", "freeze a container")
    verb("resume", "let a frozen container go on")
    sub = verb("update", "change resource limits")
    sub.add_argument("--resources", "-r", default="")
    for flag in FLAGS:
        sub.add_argument(f"--{flag.replace('_', '-')}", dest=flag)
    sub = verb("spec", "write a config.json to start from", container=False)
    sub.add_argument("--bundle", "-b", default="")
    sub.add_argument("--rootless", action="store_true", dest="rootless_spec")
    verb("features", "print what this runtime supports as JSON", container=False)


def run() -> int:
    """The command `corten-oci`: the runtime by a name of its own, for engines that want one program."""
    return main(sys.argv[1:])


def main(argv: Sequence[str]) -> int:
    """Run `corten oci ARGV...`; the exit status."""
    arguments = _parser().parse_args(list(argv))
    if arguments.debug:
        os.environ["CORTEN_TRACE"] = "1"
    try:
        if arguments.verb in _SEALED:
            _seal()
        module, function = VERBS[arguments.verb]
        verb: Callable[[argparse.Namespace], int] = getattr(
            importlib.import_module(f"corten.runtime.oci.{module}"), function
        )
        return verb(arguments)
    except StartFailed as failed:
        prefix = "exec failed: " if arguments.verb == "exec" else f"{_BINARY} {arguments.verb} failed: "
        _report(arguments, f"{prefix}unable to start container process: {failed.text}")
        return 255 if arguments.verb == "exec" else 1
    except (OciError, CortenError, OSError, ValueError) as error:
        return _report(arguments, str(error))


_BINARY = "corten oci"


def _seal() -> None:
    from corten.runtime.sealed import run_sealed

    try:
        run_sealed()
    except OSError as error:
        if os.geteuid() == 0:
            raise OciError(f"cannot protect the interpreter from containers: {error}") from error


def _report(arguments: argparse.Namespace, text: str) -> int:
    print(f"{_BINARY}: {text}", file=sys.stderr)
    if arguments.log:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if arguments.log_format == "json":
            line = json.dumps({"level": "error", "msg": text, "time": stamp})
        else:
            line = f'time="{stamp}" level=error msg={json.dumps(text)}'
        try:
            with open(arguments.log, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            print(f"{_BINARY}: {arguments.log}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
