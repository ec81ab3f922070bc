"""Where plugins are: sockets and address files in well-known folders. Daemon only; reads names and small files.

Source: Docker's plugin API, "Plugin discovery": a plugin NAME is NAME.sock in a folder of sockets, else NAME.spec (one
line with a URL) or NAME.json (`Addr`) in a folder of specifications; each may stand in a subfolder NAME as well. They
are looked for when a plugin is wanted, never before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from corten.errors import CortenError, InvalidArgument
from corten.lib import codec

SOCKET_FOLDER = Path("/run/docker/plugins")
SPEC_FOLDERS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}\Z")
_MAX_SPEC = 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """How a plugin is reached: a unix socket's `path`, or a `host` and `port` over plain TCP."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


class _Json(msgspec.Struct):
    """NAME.json."""

    address: str = msgspec.field(name="Addr", default="")


@dataclass(frozen=True, slots=True)
class PluginFolders:
    """The folders of one daemon, in the order in which they are looked at."""

    sockets: Sequence[Path] = (SOCKET_FOLDER,)
    specs: Sequence[Path] = SPEC_FOLDERS

    def find(self, name: str) -> Address | None:
        """Where a plugin is; None when there is none of this name. Raises InvalidArgument (a file that says nothing
        usable), OSError."""
        if not _NAME.match(name):
            return None
        for folder in self.sockets:
            for path in (folder / f"{name}.sock", folder / name / f"{name}.sock"):
                if path.is_socket():
                    return Address(path=str(path))
        for folder in self.specs:
            for path in (folder / f"{name}{kind}" for kind in (".spec", ".json")):
                for file in (path, folder / name / path.name):
                    if file.is_file():
                        return read_spec(file)
        return None

    def has(self, name: str) -> bool:
        """Whether there is a plugin of this name, reachable or not."""
        try:
            return self.find(name) is not None
        except (CortenError, OSError):
            return True


def read_spec(file: Path) -> Address:
    """The address that a NAME.spec or NAME.json holds. Raises InvalidArgument, OSError."""
    with file.open("rb") as stream:
        raw = stream.read(_MAX_SPEC)
    try:
        text = codec.decode(_Json, raw).address if file.suffix == ".json" else raw.decode().strip()
        return parse_address_url(text)
    except (InvalidArgument, UnicodeDecodeError) as error:
        raise InvalidArgument(f"plugin specification {file}: {error}") from error


def parse_address_url(text: str) -> Address:
    """`unix:///path` or `tcp://host:port`; TLS is not offered. Raises InvalidArgument."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port or 0
    except ValueError:
        raise InvalidArgument(f"unusable address {text[:128]!r}") from None
    if url.scheme == "unix" and url.path.startswith("/") and not url.netloc:
        return Address(path=url.path)
    if url.scheme in ("tcp", "http") and host and port:
        return Address(host=host, port=port)
    raise InvalidArgument(f"unusable address {text[:128]!r}: want unix:///path or tcp://host:port (without TLS)")
