"""A graph as text: each network with its containers below it. Pure: graph and width in, lines out."""

from __future__ import annotations

from corten.cli.network_graph.labels import cells, cut, outside, printable, published, serving, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from corten.cli.network_graph.model import Container, Endpoint, Graph, Network

_GAP = "  "
_LEAST_WIDTH = 20


def draw_text(graph: Graph, *, width: int = 0) -> str:
    """The drawing, lines ended. No line is wider than `width` columns (20 at least); 0 is no limit.

    What does not fit goes to further lines; only a single word that is too long is cut.
    """
    containers = {container["Name"]: container for container in graph["Containers"]}
    limit = max(width, _LEAST_WIDTH) if width else 0
    blocks = ["".join(f"{line}\n" for line in _network(node, containers, limit)) for node in graph["Networks"]]
    return "\n".join(blocks)


def _network(network: Network, containers: dict[str, Container], width: int) -> Iterator[str]:
    endpoints = network["Endpoints"]
    words = [network["Name"], network["Driver"], *network["Subnets"], outside(network)]
    if not network["Connected"] and len(endpoints) > 1:
        words.append("containers kept apart")
    if network["Peers"]:
        words.append(f"peers {', '.join(network['Peers'])}")
    if not endpoints:
        words.append("no containers")
    yield from _wrapped(words, "", "  ", width)
    rows = [(f"◆ {one['Name']}", one["Addresses"], [serving(one)]) for one in network["Services"]]
    rows += [
        (one["Container"], one["Addresses"], _about(one, containers[one["Container"]], network["Name"]))
        for one in endpoints
    ]
    names = _padded([name for name, _addresses, _words in rows])
    addresses = _padded([", ".join(addresses) for _name, addresses, _words in rows])
    for number, (_name, _addresses, about) in enumerate(rows):
        last = number == len(rows) - 1
        words = [names[number], addresses[number], *about]
        yield from _wrapped(words, "└─ " if last else "├─ ", "     " if last else "│    ", width)


def _about(endpoint: Endpoint, container: Container, network: str) -> list[str]:
    words = [f"as {', '.join(endpoint['Aliases'])}"] if endpoint["Aliases"] else []
    words += [state(container), *published(container["Ports"])]
    if container["SharesWith"]:
        words.append(f"by way of {container['SharesWith']}")
    others = [name for name in container["Networks"] if name != network]
    if others:
        words.append(f"⇄ {', '.join(others)}")
    return [word for word in words if word]


def _padded(column: list[str]) -> list[str]:
    column = [printable(text) for text in column]
    width = max(map(cells, column), default=0)
    return [text + " " * (width - cells(text)) for text in column]


def _wrapped(words: list[str], first: str, further: str, width: int) -> Iterator[str]:
    """The words with gaps between them, on as many lines as they need; all but printable characters are spelt out."""
    line, gap = first, ""
    for word in map(printable, words):
        size = cells(word.rstrip())
        if width and gap and cells(line + gap) + size > width:
            yield line.rstrip()
            line, gap = further, ""
        fits = not width or cells(line + gap) + size <= width
        line += gap + (word if fits else cut(word.rstrip(), width - cells(line + gap)))
        gap = _GAP
    yield line.rstrip()
