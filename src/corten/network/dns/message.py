"""DNS messages on the wire, as far as a server needs them that answers for a few names and relays the rest. Pure.

RFC 1035 (format), 6891 (EDNS), 2782 (SRV). What comes in is hostile: every length is checked against the message, and
no compression pointer is ever followed, so there is nothing to loop in. A question's bytes are kept and given back as
they came, so that the case of its letters (draft-vixie-dnsext-dns0x20) survives. What is relayed is not parsed at all
but for its identity.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

A, PTR, AAAA, SRV, OPT, ANY = 1, 12, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
BADVERS = 16

PLAIN_UDP_BYTES = 512  # RFC 1035, 4.2.1
MAX_UDP_BYTES = 4096
MAX_TCP_BYTES = 65535
_OUR_UDP_BYTES = 1232  # the DNS flag day's value, which no path breaks up

_HEAD = struct.Struct("!HHHHHH")
_QUESTION_TAIL = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_QR, _OPCODE, _TC, _RD, _RA = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
_MAX_NAME_BYTES = 255
_MAX_QUERY_RECORDS = 16  # a query has an OPT record and perhaps a signature; to walk through more is a waste
_POINTER = 0xC0
_QUESTION_NAME = b"\xc0\x0c"  # a pointer to the question's name, behind the header
_EXTENDED_RCODE = 24  # where an OPT record's TTL has the rcode's upper bits


class Malformed(Exception):
    """Bytes that are no query. `identity` is its id when at least that could be read, else -1: no answer then."""

    def __init__(self, text: str, *, identity: int = -1) -> None:
        super().__init__(text)
        self.identity = identity


class Query(NamedTuple):
    """One question. `name` is lower-case without the last dot, `question` its bytes as they came."""

    identity: int
    flags: int
    name: str
    kind: int
    klass: int
    question: bytes
    udp_bytes: int  # what the client takes in one datagram
    edns: int  # the version of EDNS, -1 without

    @property
    def opcode(self) -> int:
        """0 is a query."""
        return (self.flags & _OPCODE) >> 11


def parse_query(data: bytes) -> Query:
    """A query with one question. Raises Malformed."""
    size = len(data)
    if size < _HEAD.size:
        raise Malformed("shorter than a header")
    identity, flags, questions, answers, authorities, additional = _HEAD.unpack_from(data)
    if flags & _QR:
        raise Malformed("an answer, not a query")
    if questions != 1:
        raise Malformed(f"{questions} questions", identity=identity)
    try:
        name, end = _question_name(data, _HEAD.size)
        kind, klass = _QUESTION_TAIL.unpack_from(data, end)
        end += _QUESTION_TAIL.size
        udp_bytes, edns = PLAIN_UDP_BYTES, -1
        if additional or answers or authorities:
            found = _edns(data, end, answers + authorities, additional)
            if found is not None:
                udp_bytes, edns = min(max(found[0], PLAIN_UDP_BYTES), MAX_UDP_BYTES), found[1]
    except (IndexError, struct.error):
        raise Malformed("cut short", identity=identity) from None
    except ValueError as error:
        raise Malformed(str(error), identity=identity) from None
    return Query(identity, flags, name, kind, klass, data[_HEAD.size : end], udp_bytes, edns)


def _question_name(data: bytes, offset: int) -> tuple[str, int]:
    """A name written out, and where it ends. The first name of a message has nothing to point to."""
    start = offset
    labels = []
    while length := data[offset]:
        if length & _POINTER:
            raise ValueError("a compressed question")
        label = data[offset + 1 : offset + 1 + length]
        labels.append(label.replace(b".", b"\\.") if b"." in label else label)
        offset += 1 + length
        if offset - start >= _MAX_NAME_BYTES:
            raise ValueError("a name of more than 255 bytes")
    return b".".join(labels).lower().decode("latin-1"), offset + 1


def skip_name(data: bytes, offset: int) -> int:
    """Where a record's name ends. Raises ValueError, IndexError."""
    start = offset
    while length := data[offset]:
        if length & _POINTER == _POINTER:
            return offset + 2
        offset += 1 + length
        if length & _POINTER or offset - start >= _MAX_NAME_BYTES:
            raise ValueError("a bad name in a record")
    return offset + 1


def _edns(data: bytes, offset: int, before: int, additional: int) -> tuple[int, int] | None:
    """(UDP size, version) of the OPT record. Raises ValueError for a second one, IndexError and struct.error."""
    found = None
    if before + additional > _MAX_QUERY_RECORDS:
        raise ValueError(f"a query with {before + additional} records")
    for number in range(before + additional):
        offset = skip_name(data, offset)
        kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size + length
        if offset > len(data):
            raise IndexError
        if kind == OPT and number >= before:
            if found is not None:
                raise ValueError("two OPT records")
            found = klass, ttl >> 16 & 0xFF
    return found


def name_wire(name: str) -> bytes:
    """A name's bytes, uncompressed. Raises ValueError for one that DNS cannot carry."""
    raw = b""
    for label in name.encode().split(b"."):
        if not 0 < len(label) < 64:
            raise ValueError(f"{name[:64]!r} cannot be a name of DNS")
        raw += bytes([len(label)]) + label
    if len(raw) >= _MAX_NAME_BYTES:
        raise ValueError(f"{name[:64]!r} is too long for DNS")
    return raw + b"\0"


def record(kind: int, data: bytes, ttl_s: int, owner: bytes = _QUESTION_NAME) -> bytes:
    """A resource record, by default of the question's name."""
    return owner + _RECORD.pack(kind, IN, ttl_s, len(data)) + data


def srv_data(port: int, target: bytes) -> bytes:
    """An SRV record's data, all of one priority and weight; `target` is `name_wire`."""
    return struct.pack("!HHH", 1, 1, port) + target


def respond(
    query: Query, rcode: int, answers: Sequence[bytes] = (), additional: Sequence[bytes] = (), *, limit: int
) -> bytes:
    """The answer in at most `limit` bytes: with answers that do not fit it is marked as truncated, so that the client
    asks again over TCP; additional records are left out without a mark (RFC 2181, 9)."""
    opt = b""
    if query.edns >= 0:
        opt = b"\0" + _RECORD.pack(OPT, _OUR_UDP_BYTES, (rcode >> 4) << _EXTENDED_RCODE, 0)
    flags = _QR | query.flags & (_OPCODE | _RD) | _RA | rcode & 0xF
    left = limit - _HEAD.size - len(query.question) - len(opt)
    chosen: list[bytes] = []
    for answer in answers:
        if len(answer) > left:
            flags |= _TC
            break
        left -= len(answer)
        chosen.append(answer)
    extra = []
    for more in additional:
        if flags & _TC or len(more) > left:
            break
        left -= len(more)
        extra.append(more)
    head = _HEAD.pack(query.identity, flags, 1, len(chosen), 0, len(extra) + bool(opt))
    return b"".join([head, query.question, *chosen, *extra, opt])


def truncated(query: Query) -> bytes:
    """An answer that says nothing but to ask again over TCP."""
    flags = _QR | query.flags & (_OPCODE | _RD) | _RA | _TC
    return _HEAD.pack(query.identity, flags, 1, 0, 0, 0) + query.question


def format_error(identity: int) -> bytes:
    """The answer to what could not be parsed."""
    return _HEAD.pack(identity, _QR | _RA | FORMERR, 0, 0, 0, 0)


def with_identity(data: bytes, identity: int) -> bytes:
    """The same message under another id."""
    return identity.to_bytes(2, "big") + data[2:]


def rcode_of(data: bytes) -> int:
    """The rcode of a message that is at least a header long."""
    return data[3] & 0xF


def is_answer(data: bytes, identity: int, question: bytes) -> bool:
    """Whether `data` answers just this question: anything else may be forged (RFC 5452). Case may have changed on the
    way; a server that refuses may leave the question out."""
    if len(data) < _HEAD.size:
        return False
    found, flags, questions = struct.unpack_from("!HHH", data)
    if found != identity or not flags & _QR:
        return False
    if questions == 0:
        return rcode_of(data) not in (NOERROR, NXDOMAIN)
    end = _HEAD.size + len(question)
    return questions == 1 and data[_HEAD.size : end].lower() == question.lower()
