"""The `changes` of import and commit: single Dockerfile instructions applied to an image's configuration.

Pure; daemon. Source: `docker commit --change` and `docker import --change`: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK,
LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable

import msgspec

from corten.errors import InvalidArgument
from corten.spec.oci_image import Healthcheck, ImageConfig

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z", re.IGNORECASE)
_MAY_BE_EMPTY = {"CMD", "ENTRYPOINT"}  # which takes away what the image had
_LINE_LIMIT = 64 << 10
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_UNITS_NS = {"h": 3600e9, "m": 60e9, "s": 1e9, "ms": 1e6, "us": 1e3, "µs": 1e3, "ns": 1.0}
_HEALTH_OPTIONS = {
    "interval": "interval",
    "timeout": "timeout",
    "start-period": "start_period",
    "start-interval": "start_interval",
    "retries": "retries",
}


def apply_changes(config: ImageConfig, changes: Iterable[str]) -> ImageConfig:
    """`config` after each instruction in turn. Raises InvalidArgument with Docker's texts."""
    for text in changes:
        for line in text.splitlines() or [""]:
            if line.strip():
                config = _apply(config, line.strip())
    return config


def _apply(config: ImageConfig, line: str) -> ImageConfig:
    if len(line) > _LINE_LIMIT:
        raise InvalidArgument("change is too long")
    word, _, rest = line.partition(" ")
    name, rest = word.upper(), rest.strip()
    instruction = _INSTRUCTIONS.get(name)
    if instruction is None:
        raise InvalidArgument(f"{word} is not a valid change command")
    if not rest and name not in _MAY_BE_EMPTY:
        raise InvalidArgument(f"{name} requires at least one argument")
    return instruction(config, rest)


def _command(rest: str, shell: list[str] | None) -> list[str]:
    """The JSON form as it is; the shell form wrapped in the shell; nothing is no command."""
    if not rest:
        return []
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except (ValueError, RecursionError):
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return [*(shell or ["/bin/sh", "-c"]), rest]


def _words(rest: str) -> list[str]:
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except (ValueError, RecursionError):
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise InvalidArgument(f"unexpected end of statement while looking for matching quote: {rest[:200]}") from error


def _pairs(name: str, rest: str) -> list[tuple[str, str]]:
    first = rest.split(None, 1)
    if "=" not in first[0]:
        if name == "LABEL" or len(first) != 2:
            raise InvalidArgument(f"{name} must have two arguments")
        return [(first[0], first[1])]
    pairs = []
    for word in _words(rest):
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"Syntax error - can't find = in {json.dumps(word)}. Must be of the form: name=value")
        if not key:
            raise InvalidArgument(f"{name} names can not be blank")
        pairs.append((key, value))
    return pairs


def _cmd(config: ImageConfig, rest: str) -> ImageConfig:
    return msgspec.structs.replace(config, cmd=_command(rest, config.shell))


def _entrypoint(config: ImageConfig, rest: str) -> ImageConfig:
    return msgspec.structs.replace(config, entrypoint=_command(rest, config.shell))


def _env(config: ImageConfig, rest: str) -> ImageConfig:
    env = list(config.env or [])
    for key, value in _pairs("ENV", rest):
        env = [entry for entry in env if entry.partition("=")[0] != key] + [f"{key}={value}"]
    return msgspec.structs.replace(config, env=env)


def _label(config: ImageConfig, rest: str) -> ImageConfig:
    return msgspec.structs.replace(config, labels={**(config.labels or {}), **dict(_pairs("LABEL", rest))})


def _expose(config: ImageConfig, rest: str) -> ImageConfig:
    ports = dict(config.exposed_ports or {})
    for word in _words(rest):
        match = _PORT.match(word)
        if match is None:
            raise InvalidArgument(f"invalid containerPort: {word}")
        low, high, protocol = int(match.group(1)), int(match.group(2) or match.group(1)), match.group(3) or "tcp"
        if not 0 < low <= high <= 65535:
            raise InvalidArgument(f"invalid containerPort: {word}")
        for port in range(low, high + 1):
            ports[f"{port}/{protocol.lower()}"] = {}
    return msgspec.structs.replace(config, exposed_ports=ports)


def _volume(config: ImageConfig, rest: str) -> ImageConfig:
    paths = _words(rest)
    if not all(path.strip() for path in paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return msgspec.structs.replace(config, volumes={**(config.volumes or {}), **{path: {} for path in paths}})


def _workdir(config: ImageConfig, rest: str) -> ImageConfig:
    return msgspec.structs.replace(
        config, working_dir=posixpath.normpath(posixpath.join("/", config.working_dir, rest))
    )


def _user(config: ImageConfig, rest: str) -> ImageConfig:
    return msgspec.structs.replace(config, user=rest)


def _stopsignal(config: ImageConfig, rest: str) -> ImageConfig:
    return msgspec.structs.replace(config, stop_signal=rest)


def _shell(config: ImageConfig, rest: str) -> ImageConfig:
    if not rest.startswith("["):
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")
    return msgspec.structs.replace(config, shell=_words(rest))


def _healthcheck(config: ImageConfig, rest: str) -> ImageConfig:
    options: dict[str, int] = {}
    words = rest.split(None, 1)
    while words and words[0].startswith("--"):
        key, _, value = words[0][2:].partition("=")
        field = _HEALTH_OPTIONS.get(key)
        if field is None:
            raise InvalidArgument(f"Unknown flag: {key}")
        options[field] = _retries(value) if field == "retries" else duration_ns(value)
        words = words[1].split(None, 1) if len(words) > 1 else []
    kind = words[0].upper() if words else ""
    if kind == "NONE":
        return msgspec.structs.replace(config, healthcheck=Healthcheck(test=["NONE"]))
    if kind != "CMD" or len(words) < 2:
        raise InvalidArgument(f"Unknown type {json.dumps(kind)} in HEALTHCHECK (try CMD)")
    command = words[1].strip()
    test = ["CMD", *_words(command)] if command.startswith("[") else ["CMD-SHELL", command]
    return msgspec.structs.replace(config, healthcheck=Healthcheck(test=test, **options))


def _retries(text: str) -> int:
    if not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise InvalidArgument(f"--retries must be at least 1 (not {text[:32]})")
    return int(text)


def duration_ns(text: str) -> int:
    """A duration as Go writes it (`1m30s`, `500ms`), in nanoseconds. Raises InvalidArgument."""
    parts = _DURATION_PART.findall(text)
    if not parts or len(text) > 64 or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"time: invalid duration {json.dumps(text[:64])}")
    return sum(round(float(number) * _UNITS_NS[unit]) for number, unit in parts)


def _onbuild(config: ImageConfig, rest: str) -> ImageConfig:
    trigger = rest.split(None, 1)[0].upper()
    if trigger in {"ONBUILD", "MAINTAINER", "FROM"}:
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    return msgspec.structs.replace(config, on_build=[*(config.on_build or []), rest])


_INSTRUCTIONS: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
