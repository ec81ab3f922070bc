"""The ports of services by name, as services(5) has them: what SRV questions for `_http._tcp.name` need. Daemon only.

The file is read once, when the daemon starts: it may be large, and questions of containers that name what nobody knows
must not have it read again and again on the daemon's loop.
"""

from __future__ import annotations

from functools import cache

_PATH = "/etc/services"
_MAX_CHARACTERS = 4 << 20


@cache
def known_services() -> dict[tuple[str, str], int]:
    """(name or alias, protocol) -> port. Reads the file at the first call, so that one is not for the loop."""
    try:
        with open(_PATH, encoding="utf-8", errors="replace") as file:
            return parse_services(file.read(_MAX_CHARACTERS))
    except OSError:
        return {}


def parse_services(text: str) -> dict[tuple[str, str], int]:
    """`http 80/tcp www # comment`; the first line of a name counts, malformed ones are left out."""
    found: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        port, _slash, protocol = words[1].partition("/")
        if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536:
            for name in (words[0], *words[2:]):
                found.setdefault((name, protocol), int(port[:6]))
    return found


def port_of(service: str, protocol: str) -> int:
    """A port by number or by name; 0 for none."""
    if service.isascii() and service.isdigit():
        number = int(service[:6])
        return number if number < 65536 else 0
    return known_services().get((service, protocol), 0)
