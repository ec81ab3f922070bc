"""What of other servers' answers is passed on to a container whose names are listed. Pure.

An answer with addresses is written anew: those addresses alone that the container may be told, as if the name had them
itself, so that aliases on the way (CNAME) need no look. Of other answers the first section alone is relayed, and none
that brings addresses nobody asked for. What comes in is hostile: every length is checked, no pointer is followed.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from corten.network.dns import message
from corten.network.dns.message import Query
from corten.network.ipam import IPAddress

HTTPS, SVCB = 65, 64
_ADDRESS_BYTES = {message.A: 4, message.AAAA: 16}
_NEVER = (HTTPS, SVCB, message.ANY)  # they carry addresses in forms of their own
_HEAD = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_OUR_UDP_BYTES = 1232
_TC, _KEPT_FLAGS = 0x0200, 0x0110  # recursion desired, checking disabled
_MAX_RECORDS = 512
MAX_ADDRESSES = 32
"""That one answer may bring."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """An answer taken apart: `addresses` of the kind that was asked for, `kinds` of all records, the least time to
    live, and where the first section ends."""

    rcode: int
    truncated: bool
    addresses: tuple[IPAddress, ...]
    kinds: frozenset[int]
    ttl_s: int
    end: int


def asked_anew(query: Query) -> bytes:
    """The question alone, with EDNS of our own: nothing else of what the container sent leaves."""
    opt = b"\0" + struct.pack("!HHIH", message.OPT, _OUR_UDP_BYTES, 0, 0)
    return _HEAD.pack(query.identity, query.flags & _KEPT_FLAGS, 1, 0, 0, 1) + query.question + opt


def parse_answer(data: bytes, query: Query) -> Relayed:
    """Take the answer to `query` apart. Raises ValueError."""
    try:
        _identity, flags, questions, answers, _authorities, _additional = _HEAD.unpack_from(data)
        offset = _HEAD.size + (len(query.question) if questions else 0)
        if answers > _MAX_RECORDS:
            raise ValueError(f"an answer with {answers} records")
        addresses: dict[IPAddress, None] = {}
        kinds = set()
        ttls = []
        for _ in range(answers):
            offset = message.skip_name(data, offset)
            kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
            offset += _RECORD.size
            if offset + length > len(data):
                raise ValueError("a record that is cut short")
            kinds.add(kind)
            ttls.append(ttl if ttl < 1 << 31 else 0)  # RFC 2181, 8
            if kind == query.kind and klass == message.IN and length == _ADDRESS_BYTES.get(kind):
                addresses[ipaddress.ip_address(data[offset : offset + length])] = None
            offset += length
    except (IndexError, struct.error):
        raise ValueError("an answer that is cut short") from None
    truncated = bool(flags & _TC)
    return Relayed(flags & 0xF, truncated, tuple(addresses), frozenset(kinds), min(ttls, default=0), offset)


Admit = Callable[[Sequence[IPAddress], int], Iterable[IPAddress]]
"""(addresses, time to live) -> those that the container may be told, which it reaches from now on."""


def admitted_answer(query: Query, data: bytes, admit: Admit, *, most_ttl_s: int, limit: int) -> bytes:
    """The answer that the container gets for what another server said. What cannot be understood is SERVFAIL."""
    try:
        found = parse_answer(data, query)
    except ValueError:
        return message.respond(query, message.SERVFAIL, limit=limit)
    if query.kind in _NEVER:
        return message.respond(query, found.rcode, limit=limit)
    if query.kind in _ADDRESS_BYTES:
        if found.truncated:
            return message.truncated(query)
        ttl = min(found.ttl_s, most_ttl_s)
        told = admit(found.addresses[:MAX_ADDRESSES], ttl) if found.addresses else ()
        records = [message.record(query.kind, address.packed, ttl) for address in told]
        return message.respond(query, found.rcode, records, limit=limit)
    if found.kinds & {message.A, message.AAAA, HTTPS, SVCB}:
        return message.respond(query, message.SERVFAIL, limit=limit)
    if found.truncated or found.end > limit:
        return message.truncated(query)
    return data[:8] + bytes(4) + data[12 : found.end]
