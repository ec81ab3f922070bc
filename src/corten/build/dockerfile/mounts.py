"""`RUN --mount`: kinds and options. Pure; daemon.

Source: "RUN --mount" of the Dockerfile reference. Options are one line of CSV. A mount with variables can only be read
when they are known; where it comes `from` cannot have any, for it decides which stages are built.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from corten.build.dockerfile.error import did_you_mean
from corten.build.dockerfile.words import quoted

KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
SECRETS_DIRECTORY = "/run/secrets"
SSH_SOCKET = "/run/buildkit/ssh_agent"
_KEYS = {
    "type": "kind",
    "from": "from_",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "readonly": "readonly",
    "ro": "readonly",
    "readwrite": "readwrite",
    "rw": "readwrite",
    "id": "id",
    "sharing": "sharing",
    "required": "required",
    "size": "size_bytes",
    "mode": "mode",
    "uid": "uid",
    "gid": "gid",
    "env": "env",
}
_SWITCHES = ("readonly", "ro", "readwrite", "rw", "required")
_OWNED = ("cache", "secret", "ssh")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?([kmgtp]?)i?b?\Z", re.IGNORECASE)
_NUMBER_LIMIT = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """One mount as written; `None` is not given. `target` and `source` are paths as written."""

    kind: str = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    is_read_only: bool = True
    id: str = ""
    sharing: str = ""
    required: bool = False
    size_bytes: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


def fields_of(text: str) -> list[str]:
    """The options of one mount. Raises ValueError."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"failed to parse csv mounts: {error}") from error
    if not rows or not rows[0]:
        raise ValueError("failed to parse csv mounts: EOF")
    return rows[0]


def source_of(text: str) -> str:
    """Where the mount comes from, before any variable; nothing for the build context. Raises ValueError."""
    found = ""
    for field in fields_of(text):
        key, _, value = field.partition("=")
        if key.strip().lower() == "from":
            if re.search(r"\$.", value):
                raise ValueError("'from' doesn't support variable expansion, define alias stage instead")
            found = value
    return found


def parse_mount(text: str, expand: Callable[[str], str] = str) -> MountOptions:
    """The mount that `text` describes, each value through `expand`. Raises ValueError."""
    given: dict[str, object] = {}
    for field in fields_of(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        name = _KEYS.get(key)
        if not equals and key in _SWITCHES:
            given[_KEYS[key]] = True
            continue
        if not equals:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if name is None:
            raise ValueError(f"unexpected key '{key}' in '{field}'" + did_you_mean(key, list(_KEYS)))
        given[name] = _value(key, name, value if key == "from" else expand(value))
    return _checked(given)


def _value(key: str, name: str, value: str) -> object:
    if name == "kind":
        if value.lower() not in KINDS:
            raise ValueError(f"unsupported mount type {quoted(value)}")
        return value.lower()
    if key in _SWITCHES:
        if value.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"invalid value for {key}: {value}")
        return value.lower() in ("true", "1")
    if name == "sharing":
        if value.lower() not in SHARING:
            raise ValueError(f"unsupported sharing value {quoted(value)}")
        return value.lower()
    if name == "size_bytes":
        return _size(value)
    if name in ("mode", "uid", "gid"):
        return _number(key, value, 8 if name == "mode" else 10)
    return value


def _size(value: str) -> int:
    match = _SIZE.match(value)
    if match is None or len(value) > 24:
        raise ValueError(f"invalid value for size: {value}")
    return int(float(match.group(1)) * 1024 ** ("kmgtp".find(match.group(2).lower()) + 1 if match.group(2) else 0))


def _number(key: str, value: str, base: int) -> int:
    try:
        number = int(value, base) if value.isdecimal() and len(value) < 20 else -1
    except ValueError:
        number = -1
    if not 0 <= number < _NUMBER_LIMIT:
        raise ValueError(f"invalid value {value} for {key}")
    return number


def _checked(given: dict[str, object]) -> MountOptions:
    read_only, read_write = given.pop("readonly", None), given.pop("readwrite", None)
    mount = replace(MountOptions(), **given)  # type: ignore[arg-type]
    kind = mount.kind
    if read_only is None:
        read_only = kind not in ("cache", "tmpfs") if read_write is None else not read_write
    mount = replace(mount, is_read_only=bool(read_only))
    for name in ("mode", "uid", "gid"):
        if getattr(mount, name) is not None and kind not in _OWNED:
            raise ValueError(f"{name} not allowed for {quoted(kind)} type mounts")
    if mount.sharing and kind != "cache":
        raise ValueError(f"invalid cache sharing set for {kind} mount")
    if mount.env is not None and kind != "secret":
        raise ValueError(f"env not allowed for {quoted(kind)} type mounts")
    if mount.size_bytes and kind != "tmpfs":
        raise ValueError(f"size not allowed for {quoted(kind)} type mounts")
    if kind == "secret":
        _check_secret(mount)
    elif mount.from_ and kind not in ("bind", "cache"):
        raise ValueError(f"{kind} mount should not have a from")
    return mount


def _check_secret(mount: MountOptions) -> None:
    if mount.from_:
        raise ValueError("secret mount should not have a from")
    if not (mount.source or mount.target or mount.id):
        raise ValueError("invalid secret mount. one of source, target required")
    if mount.source and mount.id:
        raise ValueError("both source and id can't be set")


def target_of(mount: MountOptions, working_dir: str, number: int) -> str:
    """Where the mount appears, absolute; nothing for a secret that is a variable only. Raises ValueError."""
    if not mount.target:
        if mount.kind == "secret":
            return "" if mount.env is not None else f"{SECRETS_DIRECTORY}/{posixpath.basename(id_of(mount))}"
        if mount.kind == "ssh":
            return f"{SSH_SOCKET}.{number}"
    target = posixpath.normpath(posixpath.join("/", working_dir if mount.target else "/", mount.target))
    if target.strip("/") == "":
        raise ValueError('invalid mount target "/"')
    target = "/" + target.lstrip("/")
    if target == "/proc" or target.startswith("/proc/"):
        raise ValueError(f'invalid mount target "{target}": nothing can be mounted at or below /proc')
    if target == "/dev" and mount.kind != "tmpfs":
        raise ValueError('invalid mount target "/dev": only a tmpfs can take its place')
    return target


def id_of(mount: MountOptions) -> str:
    """What a secret, an agent or a cache is known by."""
    if mount.kind == "secret":
        return mount.source or mount.id or posixpath.basename(mount.target)
    if mount.kind == "ssh":
        return mount.id or "default"
    return mount.id or posixpath.normpath(mount.target)
