"""Options as data and their parser: the rules of pflag, which Docker's command line follows. On the path of every run.

`--name value`, `--name=value`, `-n value`, `-nvalue`, `-abc` for switches; `--` ends the options; with
`interspersed=False` so does the first argument. argparse is not used: it costs 10 ms to import and words its errors
differently.
"""

from __future__ import annotations

from corten.cli.errors import FlagError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_REPEATED = frozenset(("list", "strings", "map", "filter", "mount", "network", "ulimit", "gpu-request", "stringArray"))


class Option:
    """One option. `names` is "--long" or "-s, --long"; `kind` is the word that help shows and the rule of its value.

    `parse` turns the value's text into what is stored and raises ValueError with Docker's words. `default` is what
    `values` has when the option is not given; `shown` is the default that help tells.
    """

    __slots__ = ("default", "help", "hidden", "kind", "long", "parse", "short", "shown")

    def __init__(
        self,
        names: str,
        kind: str = "bool",
        help: str = "",  # noqa: A002 - the word of every command line library
        *,
        default: Any = None,
        parse: Callable[[str], Any] | None = None,
        shown: str = "",
        hidden: bool = False,
    ) -> None:
        short, comma, long = names.partition(", --")
        self.long = long if comma else names[2:]
        self.short = short[1:] if comma else ""
        self.kind = kind
        self.help = help
        self.default = default
        self.parse = parse
        self.shown = shown
        self.hidden = hidden

    @property
    def repeated(self) -> bool:
        """Whether the values of several uses are gathered in a list."""
        return self.kind in _REPEATED

    @property
    def label(self) -> str:
        """As pflag names it in errors."""
        return f"-{self.short}, --{self.long}" if self.short else f"--{self.long}"


class Values:
    """The options of one call: `values["memory"]`, and `given("memory")` for whether the user wrote it."""

    __slots__ = ("_defaults", "_set")

    def __init__(self, options: Sequence[Option]) -> None:
        self._set: dict[str, Any] = {}
        self._defaults = {option.long: option for option in options}

    def __getitem__(self, name: str) -> Any:
        if name in self._set:
            return self._set[name]
        option = self._defaults[name]
        if option.default is not None:
            return option.default
        return _ZEROS.get(option.kind, [] if option.repeated else None)

    def given(self, name: str) -> bool:
        """Whether the user wrote this option."""
        return name in self._set

    def knows(self, name: str) -> bool:
        """Whether the command has this option."""
        return name in self._defaults

    def store(self, option: Option, value: Any) -> None:
        """Set the value, or add it to those of a repeated option."""
        if not option.repeated:
            self._set[option.long] = value
        elif isinstance(value, list):
            self._set.setdefault(option.long, []).extend(value)
        else:
            self._set.setdefault(option.long, []).append(value)

    def override(self, name: str, value: Any) -> None:
        """Set what a command derives from other options."""
        self._set[name] = value


_ZEROS: Mapping[str, Any] = {"bool": False, "string": "", "int": 0, "uint": 0, "uint16": 0, "bytes": 0, "duration": 0}


def parse(  # noqa: C901 - one loop over the arguments, the hot path of every command
    options: Sequence[Option], arguments: Sequence[str], *, interspersed: bool = True
) -> tuple[Values, list[str], bool]:
    """Split `arguments` into option values and the rest; the third result is whether help was asked for.

    Raises FlagError.
    """
    values = Values(options)
    long_names = {option.long: option for option in options}
    rest: list[str] = []
    position, count = 0, len(arguments)
    while position < count:
        text = arguments[position]
        position += 1
        if len(text) < 2 or text[0] != "-":
            rest.append(text)
            if not interspersed:
                rest.extend(arguments[position:])
                break
            continue
        if text == "--":
            rest.extend(arguments[position:])
            break
        if text[1] == "-":
            name, equals, value = text[2:].partition("=")
            if not name or name[0] in "-=":
                raise FlagError(f"bad flag syntax: {text}", status=125)
            option = long_names.get(name)
            if option is None:
                if name == "help":
                    return values, rest, True
                raise FlagError(f"unknown flag: --{name}", status=125)
            if not equals:
                if option.kind == "bool":
                    value = "true"
                elif position < count:
                    value = arguments[position]
                    position += 1
                else:
                    raise FlagError(f"flag needs an argument: --{name}", status=125)
            _set(values, option, value)
            continue
        following = arguments[position] if position < count else None
        used, helped = _shorts(values, options, text[1:], following)
        if helped:
            return values, rest, True
        position += used
    return values, rest, False


def _shorts(values: Values, options: Sequence[Option], letters: str, following: str | None) -> tuple[int, bool]:
    """A cluster like `-itd` or `-eA=b`: how many following arguments were used, and whether it asks for help."""
    shorts = {option.short: option for option in options if option.short}
    cluster = letters
    while cluster:
        letter, cluster = cluster[0], cluster[1:]
        option = shorts.get(letter)
        if option is None:
            if letter == "h":
                return 0, True
            raise FlagError(f"unknown shorthand flag: {letter!r} in -{letter}{cluster}", status=125)
        if len(cluster) > 1 and cluster[0] == "=":
            _set(values, option, cluster[1:])
            return 0, False
        if option.kind == "bool":
            _set(values, option, "true")
        elif cluster:
            _set(values, option, cluster)
            return 0, False
        elif following is not None:
            _set(values, option, following)
            return 1, False
        else:
            raise FlagError(f"flag needs an argument: {letter!r} in -{letter}", status=125)
    return 0, False


def _set(values: Values, option: Option, text: str) -> None:
    try:
        parser = option.parse or _PARSERS.get(option.kind)
        values.store(option, parser(text) if parser else text)
    except ValueError as error:
        raise FlagError(f'invalid argument "{text}" for "{option.label}" flag: {error}', status=125) from None


def _bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _integer(text: str, function: str, low: int, high: int) -> int:
    """As strconv parses with base 0: 0x, 0o, 0b, a leading zero for octal, underscores only after a prefix."""
    digits = text.lstrip("+-") if function == "ParseInt" else text
    try:
        if digits.isdigit() and digits.isascii():
            value = int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
        elif digits[:1] == "0" and len(digits) > 1:
            value = int(digits, 0)
        else:
            raise ValueError
    except ValueError:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax') from None
    value = -value if text[0] == "-" else value
    if not low <= value <= high:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    return value


def _int64(text: str) -> int:
    return _integer(text, "ParseInt", -(1 << 63), (1 << 63) - 1)


def _bytes(text: str) -> int:
    from corten.cli.human_size import parse_bytes

    return parse_bytes(text)


def _duration(text: str) -> int:
    from corten.cli.duration import parse_duration

    return parse_duration(text)


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def _map(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _strings(text: str) -> list[str]:
    return text.split(",") if text else []


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "bool": _bool,
    "int": _int64,
    "uint": lambda text: _integer(text, "ParseUint", 0, (1 << 64) - 1),
    "uint16": lambda text: _integer(text, "ParseUint", 0, (1 << 16) - 1),
    "bytes": _bytes,
    "duration": _duration,
    "filter": _filter,
    "map": _map,
    "strings": _strings,
}
