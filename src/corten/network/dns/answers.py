"""What is answered to a question: from the directory, or that it is to be forwarded. Pure but for the choice of order.

Names of the container's own networks are answered here and never leave the engine, with any type of record: a known
name without an address of that family has an empty answer (RFC 2308, NODATA), which lets resolvers that ask for A and
AAAA at once take the other. Answers live five seconds, so that clients which cache (nginx does) follow their services.
"""

from __future__ import annotations

import ipaddress
import random

from corten.network.dns import message
from corten.network.dns.directory import Member, NameDirectory, usable
from corten.network.dns.message import Query
from corten.network.dns.services import port_of
from corten.network.ipam import IPAddress

TTL_S = 5
_TASKS = "tasks."
_REVERSE4, _REVERSE6 = ".in-addr.arpa", ".ip6.arpa"
_VERSIONS = {message.A: 4, message.AAAA: 6}


def answer(query: Query, cid: str, names: NameDirectory, *, limit: int) -> bytes | None:
    """The answer for container `cid` in at most `limit` bytes, or None: the question is to be forwarded."""
    if query.edns > 0:
        return message.respond(query, message.BADVERS, limit=limit)
    if query.opcode:
        return message.respond(query, message.NOTIMP, limit=limit)
    if query.klass != message.IN:
        return message.respond(query, message.REFUSED, limit=limit)
    name = query.name
    if name.endswith((_REVERSE4, _REVERSE6)):
        return _reverse(query, cid, names, limit)
    if name.startswith("_"):
        served = _service(query, cid, names, limit)
        if served is not None:
            return served
    balanced = _balanced(query, cid, names, limit)
    if balanced is not None:
        return balanced
    members = names.find(cid, name)
    if members is not None:
        return message.respond(query, message.NOERROR, _addresses(query.kind, usable(cid, members)), limit=limit)
    return None if names.leads_outside(cid) else message.respond(query, message.SERVFAIL, limit=limit)


def _balanced(query: Query, cid: str, names: NameDirectory, limit: int) -> bytes | None:
    """A service that has addresses of its own: these, or as `tasks.name` its members. None: not such a name."""
    addresses = names.service(cid, query.name)
    if addresses is not None:
        version = _VERSIONS.get(query.kind)
        found = [message.record(query.kind, a.packed, TTL_S) for a in addresses if a.version == version]
        return message.respond(query, message.NOERROR, found, limit=limit)
    name = query.name.removeprefix(_TASKS)
    if name == query.name or names.service(cid, name) is None:
        return None
    members = usable(cid, names.find(cid, name) or [])
    return message.respond(query, message.NOERROR, _addresses(query.kind, members), limit=limit)


def _shuffled(members: list[Member]) -> list[Member]:
    """A random order: clients take the first."""
    if len(members) > 1:
        random.shuffle(members)
    return members


def _addresses(kind: int, members: list[Member], owner: bytes = b"") -> list[bytes]:
    version = _VERSIONS.get(kind)
    if version is None:
        return []
    found = [a.packed for member in _shuffled(members) if (a := member.address(version)) is not None]
    return [message.record(kind, raw, TTL_S, owner) if owner else message.record(kind, raw, TTL_S) for raw in found]


def _reverse(query: Query, cid: str, names: NameDirectory, limit: int) -> bytes | None:
    """PTR. An address of the container's own networks that nobody has does not concern anyone outside."""
    address = reverse_address(query.name)
    held = names.at(cid, address) if address is not None else None
    if held is not None:
        member, zone = held
        pointer = _target(member, f".{zone.name}")
        records = [message.record(message.PTR, pointer, TTL_S)] if query.kind == message.PTR else []
        return message.respond(query, message.NOERROR, records, limit=limit)
    if address is not None and names.covers(cid, address):
        return message.respond(query, message.NXDOMAIN, limit=limit)
    return None if names.leads_outside(cid) else message.respond(query, message.SERVFAIL, limit=limit)


def reverse_address(name: str) -> IPAddress | None:
    """The address of `4.3.2.1.in-addr.arpa` or of an ip6.arpa name, None for anything else."""
    try:
        if name.endswith(_REVERSE4):
            return ipaddress.IPv4Address(".".join(reversed(name[: -len(_REVERSE4)].split("."))))
        nibbles = name[: -len(_REVERSE6)].split(".")
        if len(nibbles) != 32 or any(len(nibble) != 1 for nibble in nibbles):
            return None
        return ipaddress.IPv6Address(int("".join(reversed(nibbles)), 16))
    except ValueError:
        return None


def _service(query: Query, cid: str, names: NameDirectory, limit: int) -> bytes | None:
    """SRV of `_80._tcp.name` or `_http._tcp.name`: the members that expose the port. None: not such a name."""
    parts = query.name.split(".", 2)
    if len(parts) != 3 or parts[1] not in ("_tcp", "_udp", "_sctp"):
        return None
    members = names.find(cid, parts[2])
    if members is None:
        return None
    protocol = parts[1][1:]
    port = port_of(parts[0][1:], protocol)
    wanted = [m for m in usable(cid, members) if port and f"{port}/{protocol}" in m.owner.ports]
    if not wanted:
        return message.respond(query, message.NXDOMAIN, limit=limit)
    records, additional = [], []
    if query.kind == message.SRV:
        for member in _shuffled(wanted):
            target = _target(member)
            records.append(message.record(message.SRV, message.srv_data(port, target), TTL_S))
            for kind in _VERSIONS:
                additional += _addresses(kind, [member], target)
    return message.respond(query, message.NOERROR, records, additional, limit=limit)


def _target(member: Member, suffix: str = "") -> bytes:
    """A container's name on the wire; its short id when DNS cannot carry the name."""
    try:
        return message.name_wire(member.owner.name + suffix)
    except ValueError:
        return message.name_wire(member.owner.cid[:12])
