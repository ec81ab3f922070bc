"""Texts that both drawings show: names made harmless for a terminal, published ports, the words for a state. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from corten.cli.network_graph.model import Container, Network, Port, Service

_ANY = {"0.0.0.0", "::"}
HEALTH_MARKS = {"healthy": "✓", "unhealthy": "✗", "starting": "…"}


def printable(text: str) -> str:
    """The text with what is no visible character spelt out (`\\x1b`): any may be in an alias or a network's name."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def cells(text: str) -> int:
    """Columns that the text takes on a terminal, at most: East Asian wide characters take two (Unicode, annex 11)."""
    if text.isascii():
        return len(text)
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def cut(text: str, width: int) -> str:
    """At most so many columns, the last one `…` when something was cut."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def state(container: Container) -> str:
    """`✓ healthy`; what else it is but running; "" for a running one without a check."""
    health = container["Health"]
    if health:
        return f"{HEALTH_MARKS[health]} {health}"
    return "" if container["State"] == "running" else container["State"]


def outside(network: Network) -> str:
    """Whether the network leads outside, and how."""
    if network["Driver"] == "host":
        return "the host's own network"
    return f"leads outside ({network['Outside']})" if network["Outside"] else "internal"


def serving(service: Service) -> str:
    """Whom its connections go to."""
    return f"→ {', '.join(service['Serving']) or 'nobody'}"


def published(ports: Iterable[Port]) -> list[str]:
    """`*:8080 → 80/tcp`: neighbours joined to ranges, the any-addresses of both families to `*`."""
    hosts: dict[tuple[int, int, str], set[str]] = {}
    for port in ports:
        hosts.setdefault((port["PrivatePort"], port["PublicPort"], port["Type"]), set()).add(port["IP"])
    runs: dict[tuple[str, str, int], list[list[int]]] = {}  # host, protocol, shift: first and last private port
    for (private, public, kind), addresses in sorted(hosts.items()):
        for host in (addresses - _ANY) | {"*"} if addresses >= _ANY else addresses:
            found = runs.setdefault((host, kind, public - private), [])
            if found and found[-1][1] + 1 == private:
                found[-1][1] = private
            else:
                found.append([private, private])
    flat = sorted(
        (first, last, kind, shift, host) for (host, kind, shift), spans in runs.items() for first, last in spans
    )
    return [
        f"{_host(host)}:{_span(first + shift, last + shift)} → {_span(first, last)}/{kind}"
        for first, last, kind, shift, host in flat
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
