"""--security-opt: the content of a seccomp profile is sent; systempaths=unconfined becomes empty lists of paths."""

from __future__ import annotations

from corten.cli.errors import CliError
from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_PROFILE = 4 << 20


def add_security_options(texts: list[str], host: dict[str, Any]) -> None:
    """Fill SecurityOpt, MaskedPaths and ReadonlyPaths. Raises CliError."""
    options: list[str] = []
    for text in texts:
        if text == "systempaths=unconfined":
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
            continue
        name, separator, value = text.partition("=")
        if not separator and name != "no-new-privileges":
            name, separator, value = text.partition(":")
            if not separator:
                raise _fail(f'Invalid --security-opt: "{text}"')
        if name == "seccomp" and value not in ("builtin", "unconfined"):
            text = f"seccomp={_profile(value)}"
        options.append(text)
    if options:
        host["SecurityOpt"] = options


def _profile(path: str) -> str:
    """The profile without white space."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_PROFILE)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise _fail(f"opening seccomp profile ({path}) failed: open {path}: {reason}") from None
    try:
        json_text.loads(data)
    except ValueError as error:
        raise _fail(f"compacting json for seccomp profile ({path}) failed: {error}") from None
    return _compact(data.decode("utf-8"))


def _compact(text: str) -> str:
    """Drop white space outside strings; numbers and escapes stay as they are."""
    parts: list[str] = []
    inside = escaped = False
    for char in text:
        if inside:
            parts.append(char)
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char not in " \t\r\n":
            parts.append(char)
            inside = char == '"'
    return "".join(parts)


def _fail(text: str) -> CliError:
    return CliError(text, status=125, prefixed=True)
