"""--device, its control group rules and limits of block I/O."""

from __future__ import annotations

import os

from corten.cli.errors import CliError
from corten.cli.human_size import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ACCESS = frozenset("rwm")


def add_devices(texts: list[str], gpus: list[dict[str, Any]], host: dict[str, Any]) -> None:
    """Fill Devices and DeviceRequests; names like vendor.com/class=name are left to CDI. Raises CliError."""
    devices, named = [], []
    for text in texts:
        if _is_cdi(text):
            named.append(text)
        else:
            devices.append(_device(text))
    requests = list(gpus)
    if named:
        requests.append({"Driver": "cdi", "DeviceIDs": named})
    if devices:
        host["Devices"] = devices
    if requests:
        host["DeviceRequests"] = requests


def _is_cdi(text: str) -> bool:
    """`vendor/class=device`, CDI specification."""
    kind, equals, name = text.partition("=")
    vendor, slash, device_class = kind.partition("/")
    return bool(equals and slash and vendor and device_class and name and not text.startswith("/"))


def _device(text: str) -> dict[str, str]:
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise CliError(f"bad format for path: {text}", status=125, prefixed=True)
    source, target, mode = parts[0], parts[0], "rwm"
    if len(parts) == 3:
        mode = parts[2]
        target = parts[1] or source
        if not _is_mode(mode):
            raise CliError(f"bad mode specified: {mode}", status=125, prefixed=True)
    elif len(parts) == 2:
        if _is_mode(parts[1]):
            mode = parts[1]
        else:
            target = parts[1]
    if not target.startswith("/"):
        raise CliError(f"{target} is not an absolute path", status=125, prefixed=True)
    return {"PathOnHost": source, "PathInContainer": os.path.normpath(target), "CgroupPermissions": mode}


def _is_mode(text: str) -> bool:
    return bool(text) and _ACCESS.issuperset(text) and len(set(text)) == len(text)


def cgroup_rule(text: str) -> str:
    """`c 1:3 mr`. Raises ValueError."""
    parts = text.split(" ")
    numbers = parts[1].split(":") if len(parts) == 3 else []
    fine = (
        len(parts) == 3
        and parts[0] in ("a", "b", "c")
        and len(numbers) == 2
        and all(number == "*" or (number.isascii() and number.isdigit()) for number in numbers)
        and 1 <= len(parts[2]) <= 3
        and _ACCESS.issuperset(parts[2])
    )
    if not fine:
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def weight(text: str) -> dict[str, Any]:
    """`/dev/sda:100`. Raises ValueError."""
    path, number = _path_and_value(text, "bad format: {}")
    value = int(number) if number.isdigit() else -1
    if value != 0 and not 10 <= value <= 1000:
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": value}


def bps(text: str) -> dict[str, Any]:
    """`/dev/sda:1mb`. Raises ValueError."""
    form = f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"  # noqa: E501
    path, number = _path_and_value(text, "bad format: {}")
    try:
        value = parse_bytes(number)
    except ValueError:
        raise ValueError(form) from None
    if value < 0:
        raise ValueError(form)
    return {"Path": path, "Rate": value}


def iops(text: str) -> dict[str, Any]:
    """`/dev/sda:1000`. Raises ValueError."""
    path, number = _path_and_value(text, "bad format: {}")
    if not (number.isascii() and number.isdigit()):
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(number)}


def _path_and_value(text: str, form: str) -> tuple[str, str]:
    path, _, value = text.partition(":")
    if not path or not value:
        raise ValueError(form.format(text))
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value
