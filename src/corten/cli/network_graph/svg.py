"""A graph as an SVG picture: a lane for each network, a row for each container, a dot where one is in the other.

Pure: graph in, document out. What the engine says (names may be any text) goes through `_text` alone, which escapes it;
nothing of it becomes an attribute, a style or a link. The picture has no script and loads nothing.
"""

from __future__ import annotations

from corten.cli.network_graph.labels import cells, cut, outside, printable, published, serving, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.network_graph.model import Container, Endpoint, Graph, Network

_LONGEST = 40  # columns of a text; the whole of it is in its <title>, which viewers show under the pointer
_CELL = 7.3  # pixels a column takes at most, in the picture's monospace font
_LINE = 16
_MARGIN = 24
_ARROW = 34
_HEAD = 78
_FOOT = 62
_ROW_GAP = 14
# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7300")
_STATES = {"healthy": "#1a7f37", "unhealthy": "#cf222e", "starting": "#bf8700", "running": "#57606a"}
_IDLE = "#afb8c1"
_STYLE = (
    "text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#24292f}"
    ".b{font-weight:bold}.s{fill:#57606a}.e{text-anchor:end}.m{text-anchor:middle}"
)


def draw_svg(graph: Graph) -> str:
    """The document, one element a line."""
    networks, containers = graph["Networks"], graph["Containers"]
    places = [{one["Container"]: one for one in network["Endpoints"]} for network in networks]
    ports = [published(container["Ports"]) for container in containers]
    about = [_about(container) for container in containers]
    ports_width = _width([text for texts in ports for text in texts])
    box_left = _MARGIN + (ports_width + _ARROW if ports_width else 0)
    box_width = 40 + _width([text for pair in about for text in pair])
    lanes, right = [], box_left + box_width + 40
    for network, place in zip(networks, places, strict=True):
        lanes.append(right)
        right += 40 + _width([*_head(network), *(text for one in place.values() for text in _labels(one))])
    middles, top = [], _MARGIN + _HEAD
    for container, texts in zip(containers, ports, strict=True):
        row = _height(container, texts, places)
        middles.append(top + row // 2)
        top += row + _ROW_GAP
    foot = _FOOT + _LINE * max((len(network["Services"]) for network in networks), default=0)
    width, height = max(right, box_left + box_width + _MARGIN), top + foot
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (network, x) in enumerate(zip(networks, lanes, strict=True)):
        out += _lane(network, x, top, _COLOURS[number % len(_COLOURS)])
    for number, (container, y) in enumerate(zip(containers, middles, strict=True)):
        joined = [lane for lane, place in enumerate(places) if container["Name"] in place]
        thick = 3 if len(joined) > 1 else 1.5
        out.append(_line(box_left + box_width, y, lanes[joined[-1]], y, "#57606a", thick))
        for lane in joined:
            out += _dot(places[lane][container["Name"]], lanes[lane], y, _COLOURS[lane % len(_COLOURS)])
        out += _ports(ports[number], box_left, y)
        out += _box(container, about[number], (box_left, y, box_width), bridge=len(container["Networks"]) > 1)
    if ports_width:
        out.append(_text("host", box_left - _ARROW, _MARGIN + _LINE, "b e"))
    return "".join(f"{line}\n" for line in [*out, "</svg>"])


def _height(container: Container, ports: list[str], places: list[dict[str, Endpoint]]) -> int:
    """Addresses are above a row's line, aliases below it, ports are a column centred on it."""
    name = container["Name"]
    above = max((len(place[name]["Addresses"]) for place in places if name in place), default=0)
    return max(52, 2 * _LINE * above + 12, _LINE * len(ports) + 12)


def _head(network: Network) -> list[str]:
    kept = [] if network["Connected"] or len(network["Endpoints"]) < 2 else ["kept apart"]
    driver = ", ".join([network["Driver"], *kept, *network["Peers"]])
    return [network["Name"], driver, ", ".join(network["Subnets"]), outside(network), *_services(network)]


def _services(network: Network) -> list[str]:
    return [f"◆ {one['Name']} {', '.join(one['Addresses'])} {serving(one)}" for one in network["Services"]]


def _labels(endpoint: Endpoint) -> list[str]:
    return [*endpoint["Addresses"], ", ".join(endpoint["Aliases"])]


def _about(container: Container) -> tuple[str, str]:
    words = [state(container) or container["State"]]
    if container["SharesWith"]:
        words.append(f"by way of {container['SharesWith']}")
    return container["Name"], ", ".join(words)


def _lane(network: Network, x: int, bottom: int, colour: str) -> list[str]:
    """The network's head, its line down, and where that leads: an arrow outside, or a bar."""
    name, driver, subnets, way, *services = _head(network)
    foot = bottom + 18
    dashes = "" if network["Connected"] else ' stroke-dasharray="7 5"'
    out = [
        _text(name, x - 6, _MARGIN + _LINE, "b"),
        _text(driver, x - 6, _MARGIN + 2 * _LINE, "s"),
        _text(subnets, x - 6, _MARGIN + 3 * _LINE, "s"),
        _line(x, _MARGIN + 60, x, foot, colour, 4, dashes),
        _text(way, x - 6, foot + 26, "s"),
        *(_text(text, x - 6, foot + 26 + _LINE * number) for number, text in enumerate(services, 1)),
    ]
    if network["Outside"]:
        out.append(f'<path d="M{x - 7} {foot - 2}h14l-7 12z" fill="{colour}"/>')
    else:
        out.append(_line(x - 8, foot, x + 8, foot, colour, 4))
    return out


def _dot(endpoint: Endpoint, x: int, y: int, colour: str) -> list[str]:
    out = [f'<circle cx="{x}" cy="{y}" r="7" fill="{colour}" stroke="#ffffff" stroke-width="2"/>']
    count = len(endpoint["Addresses"])
    for number, address in enumerate(endpoint["Addresses"]):
        out.append(_text(address, x + 12, y - 7 - _LINE * (count - 1 - number)))
    if endpoint["Aliases"]:
        out.append(_text(", ".join(endpoint["Aliases"]), x + 12, y + 17, "s"))
    return out


def _ports(ports: list[str], left: int, y: int) -> list[str]:
    if not ports:
        return []
    first = y + 4 - _LINE * (len(ports) - 1) // 2
    out = [_text(text, left - _ARROW, first + _LINE * number, "e") for number, text in enumerate(ports)]
    out.append(_line(left - _ARROW + 6, y, left - 8, y, "#24292f", 1.5))
    return [*out, f'<path d="M{left - 10} {y - 5}v10l9-5z" fill="#24292f"/>']


def _box(container: Container, texts: tuple[str, str], place: tuple[int, int, int], *, bridge: bool) -> list[str]:
    left, y, width = place
    colour = _STATES.get(container["Health"] or container["State"], _IDLE)
    edge = f'rx="6" fill="#f6f8fa" stroke="#57606a" stroke-width="{3 if bridge else 1.5}"'
    return [
        f'<rect x="{left}" y="{y - 22}" width="{width}" height="44" {edge}/>',
        f'<circle cx="{left + 16}" cy="{y - 6}" r="5" fill="{colour}"/>',
        _text(texts[0], left + 30, y - 2, "b"),
        _text(texts[1], left + 30, y + 14, "s"),
    ]


def _width(texts: list[str]) -> int:
    return round(_CELL * max((min(cells(printable(text)), _LONGEST) for text in texts), default=0))


def _line(x1: int, y1: int, x2: int, y2: int, colour: str, width: float, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}"{more}/>'


def _text(text: str, x: int, y: int, kind: str = "") -> str:
    """The only way of a text into the picture: visible characters, cut to `_LONGEST` columns, escaped."""
    whole = printable(text)
    shown = cut(whole, _LONGEST)
    title = f"<title>{_escaped(whole)}</title>" if shown != whole else ""
    return f'<text x="{x}" y="{y}" class="{kind}" xml:space="preserve">{title}{_escaped(shown)}</text>'


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text
