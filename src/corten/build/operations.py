"""What a vertex can do: one frozen record an operation, without the code that does it (`ops/`). Pure; daemon.

A record's fields are its definition: the cache key of a step begins with them, so nothing that may differ between two
equal builds stands in them. What an operation needs and must not be known by stands in `unkeyed` fields.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar

import msgspec

from corten.build.git.url import shown
from corten.lib import codec


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of all operations."""

    unkeyed: ClassVar[frozenset[str]] = frozenset()
    is_fetched: ClassVar[bool] = False  # it comes from outside, and is known by what is there now

    def definition(self) -> bytes:
        """A digest of what the operation is."""
        fields = {
            name: msgspec.to_builtins(getattr(self, name))
            for name in self.__struct_fields__
            if name not in self.unkeyed
        }
        return hashlib.sha256(codec.encode([type(self).__name__, sorted(fields.items())])).digest()


class BaseImage(Operation, frozen=True, kw_only=True):
    """The file system of an image. No inputs. `reference` is what the Dockerfile says, and `digest` what that means at
    its registry; the id alone counts."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"reference", "digest"})
    image_id: str
    reference: str = ""
    digest: str = ""


class Scratch(Operation, frozen=True, kw_only=True):
    """An empty file system. No inputs."""


class Context(Operation, frozen=True, kw_only=True):
    """A tree that the client sends, of which only what is copied counts. No inputs. `name` is that of a named context,
    empty for the build context."""

    name: str = ""


class InlineFiles(Operation, frozen=True, kw_only=True):
    """Files that the Dockerfile itself holds (heredocs of COPY and ADD), at the top of a file system. No inputs."""

    files: tuple[tuple[str, bytes], ...]
    mode: int = 0o644


class Download(Operation, frozen=True, kw_only=True):
    """One file from a web server (ADD), called `name`, or as the URL's last part. No inputs. `checksum` is
    `sha256:<hex>`. `url` has no credentials: they are the `authorization` header."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"authorization"})
    is_fetched: ClassVar[bool] = True
    url: str
    name: str = ""
    checksum: str = ""
    authorization: str = ""


class GitCheckout(Operation, frozen=True, kw_only=True):
    """A git repository's files (ADD). No inputs. `remote` has no credentials: they are the `authorization` header.
    `checksum` is the commit that it must be, or the beginning of one; the rest is as in git.url.GitUrl."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"authorization"})
    is_fetched: ClassVar[bool] = True
    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    authorization: str = ""

    @property
    def url(self) -> str:
        """For people."""
        return shown(self.remote, self.ref, self.subdir)


class MakeDirectory(Operation, frozen=True, kw_only=True):
    """A directory with its parents, where it is missing (WORKDIR). Input: the file system. `owner` as in Copy."""

    path: str
    owner: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a Copy takes: `path` (with wildcards, below the root of input number `input`), unpacked when it is a tar
    and `unpack` says so."""

    input: int = 1
    path: str
    unpack: bool = False


class Copy(Operation, frozen=True, kw_only=True):
    """Files of other file systems (COPY, ADD). Inputs: the file system copied to, then those that sources name.

    `destination` is absolute, and ends with a slash when the Dockerfile's does. `owner` is `--chown` as written
    (`user[:group]`), empty: as in the source, where the context's files are root's. `mode` is `--chmod` as written.
    `excludes` are patterns of .dockerignore's kind, `parents` is `--parents`; `link` is `--link` where it
    depends on what it copies to after all (else it is a LinkedCopy).
    """

    sources: tuple[Source, ...]
    destination: str
    owner: str = ""
    mode: str = ""
    excludes: tuple[str, ...] = ()
    parents: bool = False
    link: bool = False


class LinkedCopy(Copy, frozen=True, kw_only=True):
    """A Copy onto nothing (input 0 is Scratch), whose layer is for any file system: it is known by what it copies."""


class Merge(Operation, frozen=True, kw_only=True):
    """The layer of a LinkedCopy upon a file system (`--link`). Inputs: the file system, then the copy."""


class Mount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`RUN --mount`: kind is bind, cache, tmpfs, secret or ssh. `input` is where a bind or a cache comes from: the
    number of the vertex' input, 0 for none. `size` is in bytes; `mode`, `uid`, `gid` are of what is made."""

    kind: str
    target: str
    input: int = 0
    source: str = ""
    read_only: bool = False
    id: str = ""
    sharing: str = "shared"
    size: int = 0
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    required: bool = False
    env: str = ""


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`RUN --device`: a CDI device's name (`vendor.com/class=name`), and whether RUN fails without it."""

    name: str
    required: bool = False


class Run(Operation, frozen=True, kw_only=True):
    """A command (RUN). Inputs: the root file system, then those that mounts name.

    `args` is the whole command, the shell included; `env` is NAME=value; `secret_env` likewise (predefined proxies and
    their like), without a part in the cache key. `network` is a network mode; `hosts` are further lines of /etc/hosts
    (`name:address`); `egress` is the list of what it may reach, None without one.
    """

    unkeyed: ClassVar[frozenset[str]] = frozenset({"secret_env"})
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    secret_env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = "/"
    network: str = "default"
    hosts: tuple[str, ...] = ()
    egress: tuple[str, ...] | None = None
    security: str = "sandbox"
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
