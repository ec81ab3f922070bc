"""`corten build`: pack the context, send it, and show what the engine says (the classic builder's API)."""

from __future__ import annotations

import io
import json
import os
import sys

from corten.cli.build import findings
from corten.cli.build.attests import attests_query
from corten.cli.build.caches import parse_caches
from corten.cli.build.conversation import Conversation
from corten.cli.build.outputs import Outputs, parse_outputs
from corten.cli.build.remote import is_remote
from corten.cli.command import Call, Command
from corten.cli.create.values import extra_host, ulimit
from corten.cli.credentials import all_credentials, encode_auth
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.cli.progress import show_progress
from corten.errors import CortenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

_CALLS = {"": "", "build": "", "check": "lint", "lint": "lint"}
_CHUNK = 1 << 20
_TAR_MAGIC_AT = 257
_COMPRESSED = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00")


def build(call: Call) -> int:
    """Send the context; print the image's id alone with --quiet. A check that finds something ends with 1."""
    values, source = call.values, call.arguments[0]
    outputs = parse_outputs(
        values["output"], push=values["push"], load=values["load"], annotations=values["annotation"]
    )
    outputs.check()
    dockerfile = values["file"] or ""
    if source == "-":
        dockerfile, data = _from_stdin(dockerfile)
    elif is_remote(source):
        data = iter((sys.stdin.buffer.read(),) if dockerfile == "-" else ())
    else:
        dockerfile, data = _from_directory(source, dockerfile)
    remote = source if is_remote(source) else ""
    query = {**_query(values, dockerfile), "outputs": outputs.query(), "remote": remote}
    messages = Conversation(
        call.client.messages(
            "POST",
            "/build",
            query=query,
            data=data,
            headers={"Content-Type": "application/x-tar", "X-Registry-Config": encode_auth(all_credentials())},
        )
    )
    told = _Told(os.path.basename(values["file"] or "").strip("-") or "Dockerfile")
    _follow(messages, told, outputs, is_quiet=values["quiet"])
    if values["iidfile"] and told.image_id:
        with open(values["iidfile"], "w", encoding="ascii") as file:
            file.write(told.image_id)
    if query["call"]:
        sys.stdout.write(findings.check_report(told.lint, told.dockerfile))
        return 1 if told.lint.get("warnings") else 0
    if not values["quiet"]:
        sys.stderr.write(findings.build_report(told.lint, told.dockerfile, debug=values["debug"]))
    return 0


def _follow(messages: Conversation, told: _Told, outputs: Outputs, *, is_quiet: bool) -> None:
    """Show the words, and put results where they go. What a quiet build said is shown when it fails."""
    last = sys.stderr if outputs.is_stdout else sys.stdout
    screen = io.StringIO() if is_quiet else last
    try:
        show_progress(messages.words(), screen, on_aux=told.take)
        while messages.number is not None:
            outputs.entries[messages.number].write(messages.data())
            show_progress(messages.words(), screen, on_aux=told.take)
    except CliError:
        if isinstance(screen, io.StringIO):
            sys.stderr.write(screen.getvalue())
        screen.flush()
        sys.stderr.write(told.failure)
        raise
    if isinstance(screen, io.StringIO):
        last.write(screen.getvalue())


class _Told:
    """What the engine says beside the stream; `failure` is the lines that its error is about."""

    def __init__(self, dockerfile: str) -> None:
        self.dockerfile = dockerfile
        self.image_id = ""
        self.failure = ""
        self.lint: dict[str, Any] = {}

    def take(self, message: dict[str, Any]) -> None:
        """One message's `aux`."""
        aux = message["aux"]
        self.image_id = aux.get("ID", self.image_id)
        results = aux.get("Lint") or {}
        error = results.get("buildError")
        if error:
            self.failure = findings.where(results, error.get("location"), self.dockerfile)
        elif results:
            self.lint = results


def _query(values: Any, dockerfile: str) -> dict[str, object]:
    return {
        "t": values["tag"],
        "dockerfile": dockerfile,
        "q": values["quiet"],
        "nocache": values["no-cache"],
        "pull": values["pull"],
        "rm": "1" if values["rm"] else "0",
        "forcerm": values["force-rm"],
        "buildargs": json.dumps({**_epoch(), **dict(_argument(text) for text in values["build-arg"])}),
        "cachefrom": json.dumps(parse_caches(values["cache-from"], "--cache-from")),
        "cacheto": json.dumps(parse_caches(values["cache-to"], "--cache-to")),
        "labels": json.dumps(dict(text.partition("=")[::2] for text in values["label"])),
        "target": values["target"],
        "diagnostics": "1",
        "call": _called(values),
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
        "ulimits": json.dumps(values["ulimit"]),
        "squash": values["squash"],
        "attests": attests_query(values["attest"], values["provenance"], values["sbom"]),
    }


def _called(values: Any) -> str:
    """What is done instead of a build: BuildKit's name of it, or nothing."""
    name = "check" if values["check"] else values["call"]
    if name not in _CALLS:
        raise CliError(f"--call={name} is not supported: it may be build or check")
    return _CALLS[name]


def _epoch() -> dict[str, str | None]:
    """SOURCE_DATE_EPOCH of this command's environment, which buildx passes on, too."""
    found = os.environ.get("SOURCE_DATE_EPOCH")
    return {"SOURCE_DATE_EPOCH": found} if found else {}


def _argument(text: str) -> tuple[str, str | None]:
    """`NAME=value`; a name alone has the value that this command's environment has, or none."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name)


def _from_directory(directory: str, dockerfile: str) -> tuple[str, Iterator[bytes]]:
    """The Dockerfile's name in the context, and the context."""
    if not os.path.isdir(directory):
        raise CliError(f"unable to prepare context: path {json.dumps(directory)} not found")
    extra: list[tuple[str, bytes]] = []
    name = dockerfile or "Dockerfile"
    if dockerfile == "-":
        name = f".dockerfile.{os.urandom(10).hex()}"
        extra.append((name, sys.stdin.buffer.read()))
    elif dockerfile:
        root, path = os.path.realpath(directory), os.path.abspath(dockerfile)
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        name = os.path.relpath(real, root)
        if name.startswith("../"):
            name = f".dockerfile.{os.urandom(10).hex()}"
            extra.append((name, _read(dockerfile)))
    if not extra and not os.path.lexists(os.path.join(directory, name)):
        raise CliError(f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {name} not found")
    return name, packed(directory, extra, _ignored(directory, name))


def _ignored(directory: str, dockerfile: str) -> Callable[[str, bool], bool]:
    """What .dockerignore keeps out, asked for a path and whether it is a directory: the engine does not copy it
    either, so it need not be sent. The Dockerfile and the file itself always are."""
    from corten.build.dockerfile.dockerignore import Matcher, parse_ignore

    names = (f"{dockerfile}.dockerignore", ".dockerignore")
    found = next((name for name in names if os.path.isfile(os.path.join(directory, name))), "")
    if not found:
        return lambda _path, _is_directory: False
    try:
        matcher = Matcher(parse_ignore(_read(os.path.join(directory, found))))
    except CortenError as error:
        raise CliError(f"unable to prepare context: {error}") from None
    sent = (dockerfile, found)

    def is_ignored(path: str, is_directory: bool) -> bool:
        if path in sent or not matcher.ignores(path):
            return False
        holds = any(name.startswith(f"{path}/") for name in sent) or matcher.may_hold_kept(path)
        return not (is_directory and holds)

    return is_ignored


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CliError(f"unable to prepare context: open {path}: {(error.strerror or '').lower()}") from None


def _from_stdin(dockerfile: str) -> tuple[str, Iterator[bytes]]:
    """Standard input: a context as a tar, compressed or not, or a Dockerfile without one."""
    stdin = sys.stdin.buffer
    start = stdin.read(512)
    if start.startswith(_COMPRESSED) or start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return dockerfile, _rest(start)
    if dockerfile:
        raise CliError("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
    return "Dockerfile", packed("", [("Dockerfile", start + stdin.read())], lambda _path, _is_directory: False)


def _rest(start: bytes) -> Iterator[bytes]:
    yield start
    while data := sys.stdin.buffer.read(_CHUNK):
        yield data


def packed(
    directory: str, extra: Sequence[tuple[str, bytes]], is_ignored: Callable[[str, bool], bool]
) -> Iterator[bytes]:
    """A directory (empty: none) and further files as a tar, piece by piece. Files are root's, as Docker sends them."""
    import tarfile

    archive = tarfile.TarFile(fileobj=open(os.devnull, "wb"), mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
    with archive:
        for path, name in _members(directory, is_ignored):
            try:
                info = archive.gettarinfo(path, name)
            except OSError as error:
                raise CliError(f"unable to prepare context: {path}: {error.strerror}") from None
            if info is None:  # a socket
                continue
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            yield info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
            if info.isreg():
                yield from _content(path, info.size)
    for name, data in extra:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        yield info.tobuf(tarfile.PAX_FORMAT) + data + b"\0" * (-len(data) % 512)
    yield b"\0" * 1024


def _members(directory: str, is_ignored: Callable[[str, bool], bool]) -> Iterator[tuple[str, str]]:
    """Paths and names of all that is below a directory and not ignored, each directory before its content."""
    todo = [(directory, "")] if directory else []
    while todo:
        path, prefix = todo.pop()
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_ignored(prefix + entry.name, is_directory):
                continue
            yield entry.path, prefix + entry.name
            if is_directory:
                todo.append((entry.path, f"{prefix}{entry.name}/"))


def _content(path: str, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes, whatever becomes of the file meanwhile, and the padding."""
    left = size
    with open(path, "rb") as file:
        while left:
            data = file.read(min(left, _CHUNK)) or b"\0" * min(left, _CHUNK)
            yield data
            left -= len(data)
    yield b"\0" * (-size % 512)


COMMAND = Command(
    "[OPTIONS] PATH | URL | -",
    build,
    (
        Option("--add-host", "list", "Add a line to /etc/hosts of RUN steps (host:ip)", parse=extra_host),
        Option(
            "--allow", "strings", "Allow steps more (network.host, security.insecure, device[=vendor.com/class=name])"
        ),
        Option("--annotation", "list", "Set an annotation of the image ([manifest|index|...:]KEY=VALUE)"),
        Option("--attest", "list", "Say something of the image (type=sbom, type=provenance,mode=max)"),
        Option("--build-arg", "list", "Set a variable of the build"),
        Option("--cache-from", "list", "Cache to look into (a name, or type=registry|local,...)"),
        Option("--cache-to", "list", "Where the cache goes (type=inline|registry|local,...)"),
        Option(
            "--call", "string", "What to do: build, or check (look for mistakes in the Dockerfile)", default="build"
        ),
        Option("--cgroup-parent", "string", "Parent cgroup of RUN steps"),
        Option("--check", "bool", "As --call=check"),
        Option("--cpu-period", "int", "Limit CPU time: length of a period in microseconds"),
        Option("--cpu-quota", "int", "Limit CPU time: microseconds of each period"),
        Option("-c, --cpu-shares", "int", "CPU shares (relative weight)"),
        Option("--cpuset-cpus", "string", "CPUs to run on (0-3, 0,1)"),
        Option("--cpuset-mems", "string", "Memory nodes to use (0-3, 0,1)"),
        Option("-D, --debug", "bool", "Tell more about warnings"),
        Option("--egress", "strings", "What RUN steps may reach: names, wildcards, address ranges, each with :ports"),
        Option("-f, --file", "string", "Dockerfile (PATH/Dockerfile if not given, - for standard input)"),
        Option("--force-rm", "bool", "Remove the containers of steps that fail, too"),
        Option("--iidfile", "string", "Write the image ID to this file"),
        Option("--label", "list", "Set a label of the image"),
        Option("--load", "bool", "Put the image into the engine, besides other outputs"),
        Option("-m, --memory", "bytes", "Limit of memory of RUN steps"),
        Option("--memory-swap", "bytes", "Limit of memory plus swap, -1 for none"),
        Option("--network", "string", "Network of RUN steps"),
        Option("--no-cache", "bool", "Do not look into the build cache"),
        Option(
            "-o, --output",
            "list",
            "Where the result goes (type=local|tar|oci|docker|image|registry|cacheonly,dest=PATH, or a directory)",
        ),
        Option("--platform", "strings", "Platforms of the image"),
        Option("--provenance", "string", "Say how the image was built (true, false, mode=min, mode=max)"),
        Option("--pull", "bool", "Pull base images although they are here"),
        Option("--push", "bool", "Push the image"),
        Option("-q, --quiet", "bool", "Print the image ID alone"),
        Option("--rm", "bool", "Remove the containers of steps", default=True),
        Option("--sbom", "string", "Say which packages the image holds (true, false)"),
        Option("--shm-size", "bytes", "Size of /dev/shm of RUN steps"),
        Option("--squash", "bool", "Make one layer of all new ones"),
        Option("-t, --tag", "list", "Name of the image (name:tag)"),
        Option("--target", "string", "Stage to build"),
        Option("--ulimit", "ulimit", "Resource limits of RUN steps", parse=ulimit, shown="[]"),
    ),
    least=1,
    most=1,
)
