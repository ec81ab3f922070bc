"""--gpus: `all`, a count, or `device=0,capabilities=utility` as comma separated fields."""

from __future__ import annotations

from corten.cli.create.csv_fields import split_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_gpus(text: str) -> dict[str, Any]:
    """A record of Docker's DeviceRequest. Raises ValueError with the words of Docker's client."""
    capabilities: list[str] = []
    request: dict[str, Any] = {"Count": 0}
    seen: set[str] = set()
    counted = False
    for field in split_fields(text):
        name, equals, value = field.partition("=")
        if name in seen:
            raise ValueError(f"gpu request key '{name}' can be specified only once")
        seen.add(name)
        if not equals:
            seen.add("count")
            request["Count"], counted = _count(name), True
        elif name == "driver":
            request["Driver"] = value
        elif name == "count":
            request["Count"], counted = _count(value), True
        elif name == "device":
            request["DeviceIDs"] = value.split(",")
        elif name == "capabilities":
            capabilities += value.split(",")
        elif name == "options":
            request["Options"] = dict(part.partition("=")[::2] for part in split_fields(value))
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")
    if not counted and "DeviceIDs" not in request:
        request["Count"] = 1
    request["Capabilities"] = [list(dict.fromkeys([*capabilities, "gpu"]))]
    request.setdefault("Driver", "")
    return request


def _count(text: str) -> int:
    if text == "all":
        return -1
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax') from None
