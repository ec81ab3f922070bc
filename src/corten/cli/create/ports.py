"""-p and --expose: `[[ip:]host port:]port[/protocol]` with ranges and IPv6, or `published=8080,target=80`.

Both forms take `,from=10.0.0.0/8`, several times too: the address ranges that may connect.
"""

from __future__ import annotations

from corten.cli.errors import CliError

_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))


def _fail(text: str) -> CliError:
    return CliError(text, status=125, prefixed=True)


def published_ports(texts: list[str]) -> tuple[dict[str, dict[str, str]], dict[str, list[dict[str, object]]]]:
    """(ExposedPorts, PortBindings). Raises CliError."""
    exposed: dict[str, dict[str, str]] = {}
    bindings: dict[str, list[dict[str, object]]] = {}
    for text in texts:
        spec, sources = _without_sources(text)
        for port, binding in _spec(_short_form(spec)):
            exposed[port] = {}
            listed: dict[str, object] = {"From": sources} if sources else {}
            bindings.setdefault(port, []).append({**binding, **listed})
    return exposed, bindings


def _without_sources(text: str) -> tuple[str, list[str]]:
    parts = text.split(",")
    sources = [part.removeprefix("from=") for part in parts if part.startswith("from=")]
    for source in sources:
        if not is_ip(source.partition("/")[0]):
            raise _fail(f"invalid source of a published port: {source}")
    return ",".join(part for part in parts if not part.startswith("from=")), sources


def _short_form(text: str) -> str:
    if "=" not in text:
        return text
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (equals and name):
            raise _fail(f"invalid publish opts format (should be name=value but got '{part}')")
        fields[name] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def _spec(text: str) -> list[tuple[str, dict[str, str]]]:
    parts = text.split(":")
    container = parts[-1]
    host = parts[-2] if len(parts) > 1 else ""
    address = ":".join(parts[:-2])
    port, protocol = _split_protocol(container)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address and not is_ip(address):
        raise _fail(f"invalid IP address: {address}")
    if not port:
        raise _fail(f"no port specified: {text}<empty>")
    first, last = _range(port, "containerPort")
    host_first, host_last = _range(host, "hostPort") if host else (0, 0)
    if host and last - first != host_last - host_first and last != first:
        raise _fail(f"invalid ranges specified for container and host Ports: {port} and {host}")
    if protocol.lower() not in _PROTOCOLS:
        raise _fail(f"invalid proto: {protocol}")
    found = []
    for offset in range(last - first + 1):
        host_port = str(host_first + offset) if host else ""
        if first == last and host_first != host_last:
            host_port = f"{host_first}-{host_last}"
        found.append((f"{first + offset}/{protocol.lower()}", {"HostIp": address, "HostPort": host_port}))
    return found


def _split_protocol(text: str) -> tuple[str, str]:
    port, _, protocol = text.partition("/")
    return port, protocol or "tcp"


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low, high = _port(first), _port(last if dash else first)
    except ValueError:
        raise _fail(f"invalid {what}: {text}") from None
    if high < low:
        raise _fail(f"invalid {what}: {text}")
    return low, high


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def exposed_ports(texts: list[str]) -> dict[str, dict[str, str]]:
    """--expose. Raises CliError."""
    exposed: dict[str, dict[str, str]] = {}
    for text in texts:
        if ":" in text:
            raise _fail(f"invalid port format for --expose: {text}")
        port, protocol = _split_protocol(text)
        try:
            first, last = _range(port, "range")
        except CliError:
            raise _fail(f"invalid range format for --expose: {text}, error: {_range_error(port)}") from None
        exposed.update({f"{number}/{protocol}": {} for number in range(first, last + 1)})
    return exposed


def _range_error(text: str) -> str:
    for part in text.split("-", 1):
        if not (part.isascii() and part.isdigit()):
            return f'strconv.ParseUint: parsing "{part}": invalid syntax'
        if int(part) > 65535:
            return f'strconv.ParseUint: parsing "{part}": value out of range'
    return f"invalid range specified for port: {text}"


def is_ip(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address."""
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
