"""Parsers of single option values of `run` and `create`. Each raises ValueError with the words of Docker's client."""

from __future__ import annotations

from corten.cli.create.ports import is_ip
from corten.cli.human_size import parse_bytes

_MIN_NANO_CPUS_DIGITS = 9
_ULIMITS = frozenset(
    (
        "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
        "rtprio", "rttime", "sigpending", "stack",
    )
)  # fmt: skip
_SYSCTLS = frozenset(
    (
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
        "kernel.shmmni", "kernel.shm_rmid_forced",
    )
)  # fmt: skip


def attach(text: str) -> str:
    """stdin, stdout, stderr."""
    lower = text.lower()
    if lower not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return lower


def extra_host(text: str) -> str:
    """`host:ip` or `host=ip`, as `host:ip`; host-gateway is an address too."""
    name, equals, address = text.partition("=")
    if not equals:
        name, colon, address = text.partition(":")
        if not colon:
            raise ValueError(f'bad format for add-host: "{text}"')
    if not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not is_ip(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def ip_address(text: str) -> str:
    """An address, without white space around it."""
    address = text.strip()
    if not is_ip(address):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return address


def dns_search(text: str) -> str:
    """A domain; "." for none."""
    value = text.strip(" ")
    if value == ".":
        return value
    labels = value.removesuffix(".").split(".")
    fine = all(
        label and len(label) <= 63 and label[0].isalnum() and label[-1].isalnum()
        and all(char.isalnum() or char in "-_" for char in label) and label.isascii()
        for label in labels
    )  # fmt: skip
    if not fine or not any(char.isalpha() for char in value) or len(value) > 255:
        raise ValueError(f"{text} is not a valid domain")
    return value


def link(text: str) -> str:
    """`name` or `name:alias`."""
    parts = text.split(":")
    if not text or len(parts) > 2:
        raise ValueError(f"bad format for links: {text}" if text else "empty string specified for links")
    if len(parts) == 2 and not (parts[0] and parts[1]):
        raise ValueError(f"bad format for links: {text}")
    return text


def nano_cpus(text: str) -> int:
    """`1.5` CPUs as billionths; fractions like 1/2 are fine."""
    numerator, slash, denominator = text.partition("/")
    from fractions import Fraction

    try:
        value = Fraction(numerator) / (Fraction(denominator) if slash else 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    nano = value * 10**_MIN_NANO_CPUS_DIGITS
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return int(nano)


def swap_bytes(text: str) -> int:
    """Bytes, or -1 for no limit."""
    return -1 if text == "-1" else parse_bytes(text)


def sysctl(text: str) -> tuple[str, str]:
    """`name=value` of those parameters that have a namespace."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"sysctl '{text}' is not allowed")
    if name in _SYSCTLS or name.startswith(("net.", "fs.mqueue.")):
        return name, value
    raise ValueError(f"sysctl '{text}' is not allowed")


def ulimit(text: str) -> dict[str, object]:
    """`nofile=1024:2048`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = value.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`")
    numbers = []
    for part in parts:
        try:
            numbers.append(int(part))
        except ValueError:
            raise ValueError(f'strconv.ParseInt: parsing "{part}": invalid syntax') from None
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft > hard or soft == -1):
        shown = "-1 (unlimited)" if soft == -1 else str(soft)
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {shown} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}
