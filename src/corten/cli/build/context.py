"""What `corten build` builds: where the Dockerfile is, and the context as a tar for engines that cannot read it."""

from __future__ import annotations

import os
import sys

from corten.cli.build.remote import is_remote
from corten.cli.errors import CliError
from corten.client import json_text
from corten.errors import CortenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CHUNK = 1 << 20
_START = 512
_TAR_MAGIC_AT = 257
_COMPRESSED = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00")


class BuildContext:
    """A directory (empty: none), the Dockerfile's name, and the bytes of the `dockerfile` and its `ignore` file where
    they are not in it; or an `archive` on standard input, of which these are the first bytes; or `remote`, an address,
    where all of it is."""

    __slots__ = ("archive", "directory", "dockerfile", "remote", "texts")

    def __init__(
        self, directory: str, dockerfile: str, texts: dict[str, bytes], archive: bytes = b"", remote: str = ""
    ) -> None:
        self.remote = remote
        self.directory = directory
        self.dockerfile = dockerfile
        self.texts = texts
        self.archive = archive

    def as_tar(self) -> tuple[str, Iterator[bytes]]:
        """The Dockerfile's name in the tar, and the tar. Raises CliError, the tar's iterator too."""
        if self.remote:
            return ("-" if self.texts else self.dockerfile), iter(self.texts.values())
        if self.archive:
            return self.dockerfile, _rest(self.archive)
        return _as_tar(self.directory, self.dockerfile, self.texts)


def context_of(source: str, dockerfile: str) -> BuildContext:
    """What PATH (or `-`) and --file mean. Raises CliError."""
    if is_remote(source):
        texts = {"dockerfile": sys.stdin.buffer.read()} if dockerfile == "-" else {}
        return BuildContext("", "" if texts else dockerfile, texts, remote=source)
    if source != "-":
        return BuildContext(source, *_located(source, dockerfile))
    start = sys.stdin.buffer.read(_START)
    if _is_archive(start):
        return BuildContext("", dockerfile, {}, start)
    return BuildContext("", *_from_stdin(dockerfile, start))


def _located(directory: str, dockerfile: str) -> tuple[str, dict[str, bytes]]:
    """The Dockerfile's name in the context, or its bytes and those of its .dockerignore, where it is not there."""
    if not os.path.isdir(directory):
        raise CliError(f"unable to prepare context: path {json_text.dumps(directory).decode()} not found")
    if dockerfile == "-":
        return "Dockerfile", {"dockerfile": sys.stdin.buffer.read()}
    name = dockerfile or "Dockerfile"
    if dockerfile:
        root, path = os.path.realpath(directory), os.path.abspath(dockerfile)
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        name = os.path.relpath(real, root)
        if name.startswith("../"):
            texts = {"dockerfile": _read(dockerfile)}
            if os.path.isfile(f"{dockerfile}.dockerignore"):
                texts["ignore"] = _read(f"{dockerfile}.dockerignore")
            return os.path.basename(dockerfile), texts
    if not os.path.lexists(os.path.join(directory, name)):
        raise CliError(f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {name} not found")
    return name, {}


def _as_tar(directory: str, dockerfile: str, texts: dict[str, bytes]) -> tuple[str, Iterator[bytes]]:
    """The Dockerfile's name in the tar, and the tar. One from elsewhere has a name that .dockerignore keeps out of what
    is copied, as with Docker's client."""
    if "dockerfile" not in texts:
        return dockerfile, packed(directory, [], _ignored(directory, dockerfile))
    if not directory:
        return dockerfile, packed("", [(dockerfile, texts["dockerfile"])], lambda _path, _is_directory: False)
    name = f".dockerfile.{os.urandom(10).hex()}"
    ignore = texts.get("ignore")
    if ignore is None:
        path = os.path.join(directory, ".dockerignore")
        ignore = _read(path) if os.path.isfile(path) else b""
    extra = [(name, texts["dockerfile"]), (".dockerignore", ignore.rstrip() + f"\n{name}\n".encode())]
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


def _is_archive(start: bytes) -> bool:
    """Whether a tar begins so, compressed or not."""
    return start.startswith(_COMPRESSED) or start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar"


def _from_stdin(dockerfile: str, start: bytes) -> tuple[str, dict[str, bytes]]:
    """A Dockerfile without a context."""
    if dockerfile:
        raise CliError("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
    return "Dockerfile", {"dockerfile": start + sys.stdin.buffer.read()}


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
            info.mtime = int(info.mtime // 1)  # as Docker's client does
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
