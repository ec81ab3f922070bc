"""The daemon's configuration: flags and daemon.json joined by dockerd's rules. Daemon only; reads one file.

What is given both as a flag and in the file is an error, also for lists; keys that nobody knows are errors; a missing
file is none unless it was named by a flag. Texts are dockerd's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from corten.daemon.options import OPTIONS, ConfigError, Option

_MAX_FILE = 1 << 20
_DEFAULT_EXEC_ROOT = "/run/corten"


@dataclass(slots=True)
class Config:
    """All options with their values, by daemon.json key; `given` are those that somebody set."""

    values: dict[str, Any]
    given: frozenset[str]
    file: Path
    flags: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def text(self, name: str) -> str:
        """A text option."""
        return str(self.values[name])

    def flag(self, name: str) -> bool:
        """A boolean option."""
        return bool(self.values[name])

    def number(self, name: str) -> int:
        """An integer option."""
        return int(self.values[name])

    def items(self, name: str) -> list[str]:
        """A list option."""
        return list(self.values[name])

    @property
    def data_root(self) -> Path:
        """Persistent state."""
        return Path(self.text("data-root"))

    @property
    def exec_root(self) -> Path:
        """State that a boot may lose."""
        return Path(self.text("exec-root"))

    @property
    def instance(self) -> str:
        """What tells this daemon's names outside its roots from another's; "" for the default exec root."""
        root = self.text("exec-root")
        return "" if root == _DEFAULT_EXEC_ROOT else "-" + hashlib.sha256(root.encode()).hexdigest()[:6]

    @property
    def hosts(self) -> list[str]:
        """Where to listen; the default is the socket in the exec root."""
        return self.items("hosts") or [f"unix://{self.exec_root / 'corten.sock'}"]

    @property
    def tcp_ports(self) -> frozenset[int]:
        """The ports of the API; those of an address without one are 2375 and 2376."""
        tails = [host.rpartition(":")[2] for host in self.hosts if host.startswith("tcp://")]
        ports = {int(tail) for tail in tails if tail.isdigit() and len(tail) < 6}
        return frozenset(ports | ({2375, 2376} if len(ports) < len(tails) else set()))

    @property
    def pidfile(self) -> Path:
        """Where the process id stands."""
        return Path(self.text("pidfile") or self.exec_root / "corten.pid")

    @property
    def cgroup_parent(self) -> str:
        """The cgroup above all containers that name none."""
        return self.text("cgroup-parent") or f"/corten{self.instance}"

    @property
    def log_level(self) -> str:
        """`debug` with --debug."""
        return "debug" if self.flag("debug") else self.text("log-level")

    def unused(self) -> list[str]:
        """Options that somebody set and that change nothing here."""
        return sorted(name for name in self.given if not OPTIONS[name].used)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(message, hint=f"see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """The command line of `corten daemon`; nothing has a default, so that what was given is known."""
    result = _Parser(
        prog="corten daemon",
        description="The container engine.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    result.add_argument(
        "command", nargs="?", choices=["stop"], default=None, help="stop: end the running daemon of these roots"
    )
    result.add_argument("--validate", action="store_true", help="Validate daemon configuration and exit")
    result.add_argument("-v", "--version", action="store_true", help="Print version information and quit")
    for option in OPTIONS.values():
        if not option.flag:
            continue
        names = [f"--{option.flag}"] + ([f"-{option.short}"] if option.short else [])
        if option.kind == "bool":
            result.add_argument(*names, dest=option.name, nargs="?", const="true", help=option.help, metavar="BOOL")
        elif option.kind in {"list", "map", "json"}:
            result.add_argument(*names, dest=option.name, action="append", help=option.help, metavar="VALUE")
        else:
            result.add_argument(*names, dest=option.name, help=option.help, metavar="VALUE")
    return result


def parse_flags(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(option values given as flags, the parser's own results). Raises ConfigError."""
    raw = vars(parser().parse_args(_bool_flags(argv)))
    flags = {name: _from_flag(OPTIONS[name], value) for name, value in raw.items() if name in OPTIONS}
    return flags, {name: value for name, value in raw.items() if name not in OPTIONS}


def _bool_flags(argv: Sequence[str]) -> list[str]:
    """As Go's flags, a boolean takes its value only with `=`: `--debug stop` is a flag and a command."""
    bools = {f"--{option.flag}": option for option in OPTIONS.values() if option.kind == "bool" and option.flag}
    bools |= {f"-{option.short}": option for option in bools.values() if option.short}
    return [f"--{bools[argument].flag}=true" if argument in bools else argument for argument in argv]


def _from_flag(option: Option, value: Any) -> Any:
    if option.kind == "bool":
        return _boolean(f"--{option.flag}", value)
    if option.kind == "int":
        return _integer(f"--{option.flag}", value)
    if option.kind == "map":
        return dict(_pair(option, item) for item in value)
    if option.kind == "json":
        return _structured(option, value)
    return list(value) if option.kind == "list" else value


def _boolean(where: str, text: str) -> bool:
    lowered = text.lower()
    if lowered in {"1", "t", "true"}:
        return True
    if lowered in {"0", "f", "false"}:
        return False
    raise ConfigError(
        f'invalid argument "{text}" for "{where}" flag: strconv.ParseBool: parsing "{text}": invalid syntax'
    )


def _integer(where: str, text: str) -> int:
    try:
        if len(text) > 20:
            raise ValueError
        return int(text, 0)
    except ValueError:
        shown = text[:64]
        message = f'invalid argument "{shown}" for "{where}" flag: strconv.ParseInt: parsing "{shown}": invalid syntax'
        raise ConfigError(message) from None


def _pair(option: Option, item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name:
        raise ConfigError(f"invalid {option.flag}: {item}: use key=value")
    return name, value


def _structured(option: Option, items: Sequence[str]) -> Any:
    """Flags whose daemon.json form is an object or a list of objects."""
    if option.flag == "default-address-pool":
        pools = []
        for item in items:
            fields = dict(_pair(option, part) for part in item.split(","))
            pools.append(
                {"base": fields.get("base", ""), "size": _integer("--default-address-pool", fields.get("size", ""))}
            )
        return pools
    if option.flag == "default-ulimit":
        ulimits = {}
        for item in items:
            name, value = _pair(option, item)
            soft, _, hard = value.partition(":")
            low = _integer("--default-ulimit", soft)
            ulimits[name] = {"Name": name, "Soft": low, "Hard": _integer("--default-ulimit", hard) if hard else low}
        return ulimits
    return dict(_pair(option, item) for item in items)


def read_file(path: Path, *, required: bool) -> dict[str, Any]:
    """daemon.json as an object; {} when it is missing and need not be there. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise ConfigError(_unable(path, f"open {path}: no such file or directory")) from None
        return {}
    except OSError as error:
        raise ConfigError(_unable(path, f"open {path}: {(error.strerror or '').lower()}")) from error
    if len(data) > _MAX_FILE:
        raise ConfigError(_unable(path, "the file is larger than 1 MiB"))
    if not data.strip():
        return {}
    try:
        values = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(_unable(path, f"invalid JSON: {error}")) from error
    if not isinstance(values, dict):
        raise ConfigError(_unable(path, "invalid JSON: an object is expected"))
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _unable(path: Path, why: str) -> str:
    return f"unable to configure the Docker daemon with file {path}: {why}"


def load(flags: dict[str, Any]) -> Config:
    """The configuration of `flags` and the file that they, or the default, name. Raises ConfigError."""
    required = "config-file" in flags
    path = Path(flags.get("config-file", OPTIONS["config-file"].default))
    config = merge(flags, read_file(path, required=required), path)
    validate(config)
    return config


def merge(flags: dict[str, Any], file: Mapping[str, Any], path: Path) -> Config:
    """Flags and file as one. Raises ConfigError for unknown keys, wrong types and what both give."""
    unknown = [key for key in file if key not in OPTIONS or not OPTIONS[key].key]
    if unknown:
        listed = ", ".join(sorted(unknown))
        raise ConfigError(_unable(path, f"the following directives don't match any configuration option: {listed}"))
    conflicts = [
        f"{key}: (from flag: {_shown(flags[key])}, from file: {_shown(file[key])})" for key in file if key in flags
    ]
    if conflicts:
        listed = ", ".join(sorted(conflicts))
        text = f"the following directives are specified both as a flag and in the configuration file: {listed}"
        raise ConfigError(_unable(path, text))
    values = {name: option.default for name, option in OPTIONS.items()}
    for key, value in file.items():
        values[key] = _from_file(OPTIONS[key], value, path)
    values.update(flags)
    proxies = values["proxies"]
    for name in ("http-proxy", "https-proxy", "no-proxy"):
        if isinstance(proxies.get(name), str) and name not in flags:
            values[name] = proxies[name]
    return Config(values, frozenset({*flags, *file}), path, dict(flags))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{' '.join(map(str, value))}]" if isinstance(value, list) else str(value)


_KINDS: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "text": (str,), "json": (dict, list)}


def _from_file(option: Option, value: Any, path: Path) -> Any:
    ok = isinstance(value, _KINDS.get(option.kind, ())) and not (option.kind == "int" and isinstance(value, bool))
    if option.kind == "list":
        ok = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif option.kind == "map":
        ok = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    elif option.kind == "json":
        ok = isinstance(value, type(option.default))
    if not ok:
        raise ConfigError(_unable(path, f"{option.key}: wrong type: {option.kind} expected"))
    return value


def validate(config: Config) -> None:
    """Refuse values that can never work, and those whose absence would leave a door open. Raises ConfigError."""
    from corten.lib.log import LEVELS
    from corten.network.ports import PublishPolicy
    from corten.store.snapshots.choose import DRIVERS, EROFS, OVERLAY

    storage = config.text("storage-driver")
    policy = config.text("publish.policy")
    refused = (
        (policy not in set(PublishPolicy), f"invalid publish.policy {policy}: use one of {', '.join(PublishPolicy)}"),
        (config.text("log-level") not in LEVELS, f"invalid logging level: {config.text('log-level')}"),
        (config.text("log-format") not in {"text", "json"}, f"invalid log format: {config.text('log-format')}"),
        (
            storage not in {"", *DRIVERS},
            f"storage driver {storage} is not supported: use {EROFS} or {OVERLAY}",
        ),
        (bool(config.items("authorization-plugins")), "authorization plugins are not supported"),
        (bool(config.text("userns-remap")), "userns-remap is not supported; give --userns for each container"),
    )
    for wrong, text in refused:
        if wrong:
            raise ConfigError(text)
    for root in ("data-root", "exec-root"):
        if not config.text(root).startswith("/"):
            raise ConfigError(f"{root} must be an absolute path: {config.text(root)}")
    for name in ("mtu", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"):
        if config.number(name) < (0 if name == "mtu" else 1):
            raise ConfigError(f"invalid {name.replace('-', ' ')}: {config.number(name)}")
    for label in config.items("labels"):
        if not re.fullmatch(r"[^=\s]+=.*", label):
            raise ConfigError(f"bad attribute format: {label}")
    _validate_gc(config)
    _validate_addresses(config)
    for mirror in config.items("registry-mirrors"):
        validate_mirror(mirror)


def _validate_gc(config: Config) -> None:
    if config["gc"]:
        from corten.daemon.gc_settings import gc_settings

        gc_settings(config["gc"])
    if config["builder"]:
        from corten.daemon.builder_settings import cache_bytes, entitlements, source_policy

        cache_bytes(config["builder"])
        entitlements(config["builder"])
        source_policy(config["builder"])


def _validate_addresses(config: Config) -> None:
    for name in ("bip", "bip6", "fixed-cidr", "fixed-cidr-v6", "ip", "default-gateway", "default-gateway-v6"):
        if text := config.text(name):
            parse = ip_interface if name.startswith("bip") else ip_network if name.startswith("fixed") else ip_address
            try:
                parse(text)
            except ValueError:
                raise ConfigError(f"invalid {name}: {text}") from None
    for server in config.items("dns"):
        try:
            ip_address(server.partition("%")[0])
        except ValueError:
            raise ConfigError(f"IP address is not correctly formatted: {server}") from None


def validate_mirror(text: str) -> None:
    """A registry mirror is an http or https URL without path, query or credentials. Raises ConfigError."""
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ConfigError(
            f"invalid mirror: no scheme specified for \"{text}\": must use either 'https://' or 'http://'"
        )
    if url.path.rstrip("/") or url.query or url.fragment:
        raise ConfigError(f'invalid mirror: path, query, or fragment at end of the URI "{text}"')
    if url.username is not None:
        raise ConfigError("invalid mirror: username/password not allowed in URI")
