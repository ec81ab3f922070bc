"""`--security-opt`: parsed and checked, and the seccomp filter that a container gets, compiled once. Daemon.

The parser is pure. Filters are kept as files below the exec root, named by the hash of the resolved profile; a shim
reads them from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corten.errors import InvalidArgument
from corten.lib.atomicfile import write_atomic
from corten.linux.seccomp import compile_filter
from corten.security.capabilities import effective_caps
from corten.security.seccomp import default_profile, load_profile

UNCONFINED = "unconfined"
_BUILTIN = "builtin"
# option -> the values it takes; none listed: any
_VALUES: dict[str, tuple[str, ...]] = {
    "seccomp": (),
    "apparmor": (),
    "label": (),
    "no-new-privileges": ("true", "false"),
    "systempaths": (UNCONFINED,),
}
_CACHE_LIMIT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """What --security-opt asks for. `seccomp` is "" (the default), `unconfined`, or a profile's text."""

    seccomp: str = ""
    apparmor: str = ""
    no_new_privileges: bool = False
    systempaths_unconfined: bool = False
    labels: tuple[str, ...] = ()


def parse_security_options(options: Sequence[str], *, no_new_privileges: bool = False) -> SecurityOptions:
    """HostConfig.SecurityOpt. Raises InvalidArgument with Docker's texts."""
    values: dict[str, str] = {}
    labels: list[str] = []
    for option in options:
        if option in ("no-new-privileges", "disable"):
            key, value = ("no-new-privileges", "true") if option != "disable" else ("label", option)
        else:
            separator = "=" if "=" in option else ":"
            key, found, value = option.partition(separator)
            if not found:
                raise InvalidArgument(f'invalid --security-opt 1: "{option[:64]}"')
        allowed = _VALUES.get(key)
        if allowed is None or (allowed and value not in allowed):
            raise InvalidArgument(f'invalid --security-opt 2: "{option[:64]}"')
        if key == "label":
            labels.append(value)
        values[key] = value
    seccomp = values.get("seccomp", "")
    return SecurityOptions(
        seccomp="" if seccomp == _BUILTIN else seccomp,
        apparmor=values.get("apparmor", ""),
        no_new_privileges=values.get("no-new-privileges", "true" if no_new_privileges else "false") == "true",
        systempaths_unconfined="systempaths" in values,
        labels=tuple(labels),
    )


class SeccompFilters:
    """Compiled filters on disk, and which profile gave which."""

    def __init__(self, directory: Path, default: str = "") -> None:
        self._directory = directory
        self._default = default
        self._known: dict[tuple[str, tuple[str, ...], bool], str] = {}

    def path(self, options: SecurityOptions, caps: Sequence[str], *, tty: bool, privileged: bool = False) -> str:
        """The filter's file, or "" for none. Raises InvalidArgument for a profile that cannot be used."""
        text = options.seccomp or ("" if privileged else self._default)
        if text == UNCONFINED or (privileged and not options.seccomp):
            return ""
        # A container with a terminal must not push input into it; without one the call is harmless.
        key = (text, tuple(caps), tty and not text)
        path = self._known.get(key)
        if path is None:
            profile = load_profile(text, caps) if text else default_profile(caps, block_tiocsti=tty)
            path = self._store(profile) if profile is not None else ""
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[key] = path
        return path

    def warm(self) -> None:
        """Compile what a container without options needs."""
        caps = effective_caps()
        for tty in (False, True):
            self.path(SecurityOptions(), caps, tty=tty)

    def _store(self, profile: dict[str, Any]) -> str:
        encoded = json.dumps(profile, sort_keys=True, separators=(",", ":")).encode()
        path = self._directory / f"{hashlib.sha256(encoded).hexdigest()}.bpf"
        if not path.exists():
            try:
                program = compile_filter(profile)
            except ValueError as error:
                raise InvalidArgument(f"invalid seccomp profile: {error}") from error
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(path, program, mode=0o600, durable=False)
        return os.fspath(path)
