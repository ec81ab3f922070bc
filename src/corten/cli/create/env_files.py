"""Environment variables and labels, of the command line and of files."""

from __future__ import annotations

import os

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_FILE = 16 << 20
_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}


def environment_variable(text: str) -> str:
    """`NAME=value`, or `NAME` with the value that it has here. Raises ValueError."""
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if not equals and name in os.environ:
        return f"{name}={os.environ[name]}"
    return text


def label(text: str) -> str:
    """`name=value` or `name`. Raises ValueError."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid label '{text}': empty name")
    return text


def environment(files: list[str], variables: list[str]) -> list[str]:
    """The variables of the files, then those of the command line. Raises CliError."""
    found: list[str] = []
    for path in files:
        found += _read(path, os.environ)
    return found + variables


def labels(files: list[str], texts: list[str]) -> dict[str, str]:
    """The labels of the files and of the command line. Raises CliError."""
    lines: list[str] = []
    for path in files:
        lines += _read(path, None)
    return {name: value for name, _, value in (text.partition("=") for text in lines + texts)}


def _wrong(path: str, text: str) -> CliError:
    return CliError(f"invalid env file ({path}): {text}", status=125, prefixed=True)


def with_proxies(variables: list[str], host: str) -> list[str]:
    """Add the proxies that config.json names for this engine's address, or for all, unless they are set."""
    from corten.cli.config_file import read_config

    proxies = read_config().get("proxies") or {}
    chosen = proxies.get(host) or proxies.get("default") or {}
    names = {variable.partition("=")[0] for variable in variables}
    for field, name in _PROXIES.items():
        value = chosen.get(field)
        if value:
            variables += [f"{spelling}={value}" for spelling in (name, name.lower()) if spelling not in names]
    return variables


def _read(path: str, known: Mapping[str, str] | None) -> list[str]:
    """Lines of `NAME=value`; a bare NAME takes its value from `known`, without one it stays (labels) or is left out."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise CliError(f"open {path}: {reason}", status=125, prefixed=True) from None
    lines: list[str] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            raise _wrong(path, f"invalid utf8 bytes at line {number}: {raw!r}") from None
        line = line.removesuffix("\r").lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        name, equals, _ = line.partition("=")
        name = name.lstrip()
        if not name:
            raise _wrong(path, f"no variable name on line '{line}'")
        if any(char in " \t" for char in name):
            raise _wrong(path, f"variable '{name}' contains whitespaces")
        if equals:
            lines.append(line)
        elif known is None:
            lines.append(name)
        elif name in known:
            lines.append(f"{name}={known[name]}")
    return lines
