"""`corten build`: have the engine read the context, and show what it says as buildx does: progress on standard error,
results on standard output. A build that fails ends with 1, as buildx's.
"""

from __future__ import annotations

import os
import sys

from corten.cli.build import session
from corten.cli.build.call import parse_call
from corten.cli.build.conversation import Conversation
from corten.cli.build.outputs import parse_outputs
from corten.cli.build.silence import Silence
from corten.cli.build.told import BuildError, Told, all_metadata, check_tag
from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client import json_text
from corten.client.errors import ApiError
from corten.errors import CortenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.build.call import Called
    from corten.cli.build.progress.display import Display
    from corten.cli.build.told import Shown
    from corten.client.api import Client

_BUILDERS = ("", "default")
_LIMITS = ("memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")


def build(call: Call) -> int:
    """Build, or answer --call. A check that finds something ends with 1."""
    try:
        return _build(call)
    except KeyboardInterrupt:  # the connection is closed by now, which ends the build
        sys.stderr.write("\nERROR: the build was canceled\n")
        raise
    except (CliError, ApiError) as error:
        raise CliError(f"ERROR: {error.message}", hint=error.hint) from None


def _build(call: Call) -> int:
    values = call.values
    called = parse_call(values["call"], is_check=values["check"])
    display: Display | Silence = Silence() if values["quiet"] else _display(values["progress"])

    def shell(container: str) -> None:
        from corten.cli.build.shell import open_shell

        display.close()
        sys.stderr.write(told.excerpt)
        open_shell(call.client, container)

    is_debugged = values["debug"] and not called.name
    told = Told(_shown_name(values["file"]), shell if is_debugged and _has_terminal() else None)
    try:
        carry_out(call.client, values, call.arguments[0], called, told, display)
    except CortenError as error:
        display.close()
        _explain(error, display, is_debugged=is_debugged)
        if isinstance(error, BuildError | ApiError):
            raise CliError(f"failed to solve: {error.message}") from None
        raise
    finally:
        display.close()
    if called.name:
        sys.stdout.write(called.report(told.answer, told.lint, told.dockerfile))
        return 1 if told.lint.get("warnings") else 0
    if values["quiet"]:
        sys.stdout.write(f"{told.image_id}\n" if told.image_id else "")
    elif display.is_for_people:
        from corten.cli.build import findings

        report = findings.build_report(told.lint, told.dockerfile, debug=values["debug"], notes=told.notes)
        sys.stderr.write(report)
    return 0


def _display(progress: str) -> Display:
    """What shows a build that is not quiet; loaded for none that is. Raises CliError."""
    from corten.cli.build.progress.display import Display, mode_of

    return Display(mode_of(progress, os.environ), sys.stderr, os.environ)


def _has_terminal() -> bool:
    from corten.cli.build.shell import has_terminal

    return has_terminal()


def _explain(error: CortenError, display: Display | Silence, *, is_debugged: bool) -> None:
    """What stands before the error: what a quiet build was silent about, and the lines that are to blame."""
    if isinstance(display, Silence):
        sys.stderr.write(display.failures())
    if not isinstance(error, BuildError):
        return
    if is_debugged and _has_terminal():
        return  # it was said before the shell
    sys.stderr.write(error.excerpt)
    if is_debugged:
        from corten.cli.build.shell import NO_TERMINAL

        sys.stderr.write(NO_TERMINAL)


def carry_out(client: Client, values: Any, source: str, called: Called, told: Told, shown: Shown) -> None:
    """Build what the options say; the results are in `told` and in files. Raises BuildError, ApiError, CliError."""
    _check(values)
    outputs = parse_outputs(
        values["output"], push=values["push"], load=values["load"], annotations=values["annotation"]
    )
    outputs.check()
    query = {**_query(values), "outputs": outputs.query(), "call": called.name, "keepfailed": told.wants_shell}
    stream = session.messages(client, values, source, query)
    try:
        messages = Conversation(stream, beside=lambda message: told.take_all([message], shown))
        told.take_all(messages.words(), shown)
        while messages.number is not None:
            outputs.entries[messages.number].write(messages.data())
            told.take_all(messages.words(), shown)
    finally:
        stream.close()  # now, and not when nobody holds the error any more: the engine builds as long as it is open
    if values["iidfile"] and told.image_id:
        _write(values["iidfile"], told.image_id)
    if values["metadata-file"] and not called.name:
        import json

        _write(values["metadata-file"], json.dumps(all_metadata(told, values["tag"]), indent=2))


def _check(values: Any) -> None:
    """Refuse what cannot be done, before anything is sent. Raises CliError."""
    for name in values["tag"]:
        check_tag(name)
    if values["builder"] not in _BUILDERS:
        raise CliError(f'no builder "{values["builder"]}" found')
    if values["policy"]:
        raise CliError("--policy is not supported: the engine knows no policies of builds")
    if values["isolation"] not in ("", "default"):
        raise CliError(f"--isolation={values['isolation']} is not supported: containers on Linux have the default one")
    for text in values["resource"]:
        for field in text.split(","):
            name, equals, value = (part.strip() for part in field.partition("="))
            if not equals or name not in _LIMITS:
                raise CliError(f"invalid resource {field!r}: it may be one of {', '.join(_LIMITS)}, each with a value")
            values.override(name, _limit(name, value))


def _limit(name: str, value: str) -> object:
    if name.startswith("cpuset"):
        return value
    from corten.cli.human_size import parse_bytes

    try:
        return parse_bytes(value) if name.startswith("memory") else int(value)
    except ValueError as error:
        raise CliError(f"invalid resource {name}={value}: {error}") from None


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CliError(f"{path}: {(error.strerror or '').lower()}") from None


def _shown_name(file: str | None) -> str:
    return os.path.basename(file or "").strip("-") or "Dockerfile"


def _query(values: Any) -> dict[str, object]:
    return {
        "t": values["tag"],
        "progress": "status",
        "nocache": values["no-cache"],
        "nocachefilter": values["no-cache-filter"],
        "pull": values["pull"],
        "rm": "1" if values["rm"] else "0",
        "forcerm": values["force-rm"] or values["rm"],
        "buildargs": _json({**_epoch(), **dict(_argument(text) for text in values["build-arg"])}),
        "cachefrom": _caches(values["cache-from"], "--cache-from"),
        "cacheto": _caches(values["cache-to"], "--cache-to"),
        "labels": _json(dict(text.partition("=")[::2] for text in values["label"])),
        "target": values["target"],
        "diagnostics": "1",
        "platform": ",".join(values["platform"]) or os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
        "networkmode": values["network"],
        "extrahosts": values["add-host"],
        "egress": values["egress"],
        "allow": values["allow"],
        "memory": values["memory"],
        "memswap": values["memory-swap"],
        "cpushares": values["cpu-shares"],
        "cpuperiod": values["cpu-period"],
        "cpuquota": values["cpu-quota"],
        "cpusetcpus": values["cpuset-cpus"],
        "cpusetmems": values["cpuset-mems"],
        "cgroupparent": values["cgroup-parent"],
        "shmsize": values["shm-size"],
        "securityopt": values["security-opt"],
        "ulimits": _json(values["ulimit"]),
        "squash": values["squash"],
        "attests": _attests(values),
    }


def _caches(texts: list[str], flag: str) -> str:
    if not texts:
        return ""
    from corten.cli.build.caches import parse_caches

    return _json(parse_caches(texts, flag))


def _attests(values: Any) -> str:
    said = values["attest"], values["provenance"], values["sbom"]
    if not any(said):
        return ""
    from corten.cli.build.attests import attests_query

    return attests_query(*said)


def _json(value: object) -> str:
    return json_text.dumps(value).decode()


def _epoch() -> dict[str, str | None]:
    """SOURCE_DATE_EPOCH of this command's environment, which buildx passes on, too."""
    found = os.environ.get("SOURCE_DATE_EPOCH")
    return {"SOURCE_DATE_EPOCH": found} if found else {}


def _argument(text: str) -> tuple[str, str | None]:
    """`NAME=value`; a name alone has the value that this command's environment has, or none."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name)


def _extra_host(text: str) -> object:
    from corten.cli.create.values import extra_host

    return extra_host(text)


def _ulimit(text: str) -> object:
    from corten.cli.create.values import ulimit

    return ulimit(text)


COMMAND = Command(
    "[OPTIONS] PATH | URL | -",
    build,
    (
        Option("--add-host", "list", "Add a line to /etc/hosts of RUN steps (host:ip)", parse=_extra_host),
        Option(
            "--allow", "strings", "Allow steps more (network.host, security.insecure, device[=vendor.com/class=name])"
        ),
        Option("--annotation", "list", "Set an annotation of the image ([manifest|index|...:]KEY=VALUE)"),
        Option("--attest", "list", "Say something of the image (type=sbom, type=provenance,mode=max)"),
        Option("--build-arg", "list", "Set a variable of the build"),
        Option(
            "--build-context", "list", "Add a named context (name=DIR, docker-image://NAME, oci-layout://DIR, a URL)"
        ),
        Option("--builder", "string", "The builder: there is one, called default"),
        Option("--cache-from", "list", "Cache to look into (a name, or type=registry,ref=NAME|local,src=DIR)"),
        Option("--cache-to", "list", "Where the cache goes (type=inline|registry,ref=NAME|local,dest=DIR[,mode=max])"),
        Option("--call", "string", "What to do: build, check, outline or targets[,format=json]", default="build"),
        Option("--cgroup-parent", "string", "Parent cgroup of RUN steps"),
        Option("--check", "bool", "As --call=check"),
        Option("--compress", "bool", "Compress the context on its way (it goes as it is)", hidden=True),
        Option("--cpu-period", "int", "Limit CPU time: length of a period in microseconds"),
        Option("--cpu-quota", "int", "Limit CPU time: microseconds of each period"),
        Option("-c, --cpu-shares", "int", "CPU shares (relative weight)"),
        Option("--cpuset-cpus", "string", "CPUs to run on (0-3, 0,1)"),
        Option("--cpuset-mems", "string", "Memory nodes to use (0-3, 0,1)"),
        Option("-D, --debug", "bool", "Open a shell where a step fails, and tell more about warnings"),
        Option("--egress", "strings", "What RUN steps may reach: names, wildcards, address ranges, each with :ports"),
        Option("-f, --file", "string", "Dockerfile (PATH/Dockerfile if not given, - for standard input)"),
        Option("--force-rm", "bool", "Remove the containers of steps that fail, too"),
        Option("--iidfile", "string", "Write the image ID to this file"),
        Option("--isolation", "string", "Kind of isolation of containers: there is one", hidden=True),
        Option("--label", "list", "Set a label of the image"),
        Option("--load", "bool", "Put the image into the engine, besides other outputs"),
        Option("-m, --memory", "bytes", "Limit of memory of RUN steps"),
        Option("--memory-swap", "bytes", "Limit of memory plus swap, -1 for none"),
        Option("--metadata-file", "string", "Write what is known of the result to this file, as JSON"),
        Option("--network", "string", "Network of RUN steps"),
        Option("--no-cache", "bool", "Do not look into the build cache"),
        Option("--no-cache-filter", "list", "Do not look into the build cache for these stages"),
        Option(
            "-o, --output",
            "list",
            "Where the result goes (type=local|tar|oci|docker|image|registry|cacheonly,dest=PATH, or a directory)",
        ),
        Option("--platform", "strings", "Platforms of the image; `corten buildx ls` lists those that RUN can be for"),
        Option("--policy", "list", "Policies of the build", hidden=True),
        Option("--progress", "string", "How progress is shown: auto, plain, tty, rawjson, quiet or none", shown="auto"),
        Option("--provenance", "string", "Say how the image was built (true, false, mode=min, mode=max)"),
        Option("--pull", "bool", "Pull base images although they are here"),
        Option("--push", "bool", "Push the image"),
        Option("-q, --quiet", "bool", "Print the image ID alone"),
        Option("--resource", "list", "Limits of RUN steps (memory=2g,cpu-quota=50000)"),
        Option("--rm", "bool", "Remove the containers of steps", default=True),
        Option("--sbom", "string", "Say which packages the image holds (true, false)"),
        Option("--secret", "list", "Offer a secret to RUN steps (id=NAME[,src=FILE|,env=VARIABLE])"),
        Option("--security-opt", "strings", "Security options of RUN steps"),
        Option("--shm-size", "bytes", "Size of /dev/shm of RUN steps"),
        Option("--squash", "bool", "Make one layer of all new ones"),
        Option("--ssh", "list", "Offer an ssh agent to steps and git (default, or NAME[=SOCKET|KEYFILE,...])"),
        Option("-t, --tag", "list", "Name of the image (name:tag)"),
        Option("--target", "string", "Stage to build"),
        Option("--ulimit", "ulimit", "Resource limits of RUN steps", parse=_ulimit, shown="[]"),
    ),
    least=1,
    most=1,
)
