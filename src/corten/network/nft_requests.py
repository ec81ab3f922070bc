"""Requests to nf_tables and its events: tables, chains, sets and rules as netlink messages. Pure; daemon only.

What rules and sets consist of is said by `network.nft`; `network.nft_socket` sends the requests.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence

from corten.linux.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    attr,
    attr_be32,
    attr_text,
    attribute_list,
    attributes,
    message,
    nested,
)
from corten.network.nft import NFPROTO_BRIDGE, NFPROTO_INET, Chain, Element, Rule, Set, Table, data_value

_SUBSYSTEM = 10
_NFGENMSG = 4  # struct nfgenmsg before the attributes
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _DELCHAIN = 0, 1, 2, 3, 4, 5
_DELRULE, _DELSET = 8, 11
_NEWRULE, _NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _NEWGEN = 6, 9, 12, 13, 14, 15
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_SET_INTERVAL, _SET_MAP, _SET_TIMEOUT = 0x4, 0x8, 0x10
_INTERVAL_END = 1
_DATA_VERDICT = 0xFFFFFF00
# nft's own numbers of data types, so that `nft list` shows the sets readably
_TYPES = {
    "integer": (4, 4),
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
    "ifname": (41, 16),
}
_FAMILIES = (bytes([NFPROTO_INET]), bytes([NFPROTO_BRIDGE]))
_HOST_ORDER = struct.pack("=BBI", 0, 4, 1)  # user data for nft: the key's byte order, or it shows names wrongly
_ELEMENTS_A_MESSAGE = 256


def _request(command: int, flags: int, *attrs: bytes, family: int = NFPROTO_INET) -> bytes:
    return message((_SUBSYSTEM << 8) | command, flags, struct.pack("!BBH", family, 0, 0) + b"".join(attrs))


def batch_begin() -> bytes:
    """The mark before a transaction's requests."""
    return message(_BATCH_BEGIN, 0, struct.pack("!BBH", 0, 0, _SUBSYSTEM))


def batch_end() -> bytes:
    """The mark behind them: the kernel commits all or nothing."""
    return message(_BATCH_END, 0, struct.pack("!BBH", 0, 0, _SUBSYSTEM))


def get_chain(table: str, chain: str) -> bytes:
    """Ask for one chain; the kernel answers ENOENT when table or chain is missing."""
    return _request(_GETCHAIN, 0, attr_text(1, table), attr_text(3, chain))


def get_tables() -> bytes:
    """Ask for all tables of the family."""
    return _request(_GETTABLE, NLM_F_DUMP)


def get_elements(table: str, name: str) -> bytes:
    """Ask for the elements of a set; the kernel answers ENOENT when table or set is missing."""
    return _request(_GETSETELEM, NLM_F_DUMP, attr_text(1, table), attr_text(2, name))


def timed_keys(answer: Message) -> list[tuple[bytes, int]]:
    """The keys of an answer to `get_elements`, each with the milliseconds until it goes (0: it stays)."""
    found = []
    for kind, raw in attribute_list(attributes(answer.payload, _NFGENMSG).get(3, b"")):
        element = attributes(raw) if kind == 1 else {}
        key = attributes(element.get(1, b"")).get(1, b"")
        found.append((key, int.from_bytes(element.get(5, b""), "big")))
    return found


def touched_table(event: Message) -> str:
    """The table of one of our families that an event (NFNLGRP_NFTABLES) tells a change of; "" for another family or
    kind of event."""
    if event.type >> 8 != _SUBSYSTEM or event.type & 0xFF == _NEWGEN or event.payload[:1] not in _FAMILIES:
        return ""
    name = attributes(event.payload, _NFGENMSG).get(1, b"")  # NFTA_*_TABLE is 1 in all of them
    return name.rstrip(b"\0").decode("utf-8", "replace")


def committer(event: Message) -> str:
    """Who made the transaction that this event ends, as "name (pid)"; "" for another kind of event."""
    if event.type != (_SUBSYSTEM << 8 | _NEWGEN):
        return ""
    found = attributes(event.payload, _NFGENMSG)
    pid = int.from_bytes(found.get(2, b""), "big")
    return f"{found.get(3, b'?').rstrip(bytes(1)).decode('utf-8', 'replace')} ({pid})"


def add_table(table: str, family: int = NFPROTO_INET) -> bytes:
    """Make the table unless it is there."""
    return _request(_NEWTABLE, NLM_F_CREATE, attr_text(1, table), family=family)


def delete_table(table: str, family: int = NFPROTO_INET) -> bytes:
    """Delete the table with all in it."""
    return _request(_DELTABLE, 0, attr_text(1, table), family=family)


def _type_of(names: Sequence[str]) -> tuple[int, int]:
    if names == ("verdict",):
        return _DATA_VERDICT, 0
    number, length = 0, 0
    for name in names:
        kind, size = _TYPES[name]
        number = number << 6 | kind
        length += (size + 3) & ~3 if len(names) > 1 else size
    return number, length


def _add_set(table: str, item: Set, number: int, family: int) -> bytes:
    kind, length = _type_of(item.key)
    attrs = [attr_text(1, table), attr_text(2, item.name), attr_be32(10, number)]
    flags = item.intervals * _SET_INTERVAL | bool(item.data) * _SET_MAP | item.timed * _SET_TIMEOUT
    attrs += [attr_be32(3, flags), attr_be32(4, kind), attr_be32(5, length)]
    if item.data:
        kind, length = _type_of(item.data)
        attrs += [attr_be32(6, kind), attr_be32(7, length)]
    if item.key in (("ifname",), ("integer",)):
        attrs.append(attr(13, _HOST_ORDER))
    return _request(_NEWSET, NLM_F_CREATE, *attrs, family=family)


def _element(element: Element) -> bytes:
    parts = [data_value(1, element.key), element.data]
    if element.end:
        parts.append(attr_be32(3, _INTERVAL_END))
    if element.timeout_ms:
        parts.append(attr(4, struct.pack("!Q", element.timeout_ms)))
    return nested(1, *parts)


def _elements(
    command: int, flags: int, table: str, name: str, elements: Sequence[Element], family: int = NFPROTO_INET
) -> Iterable[bytes]:
    for start in range(0, len(elements), _ELEMENTS_A_MESSAGE):
        part = [_element(element) for element in elements[start : start + _ELEMENTS_A_MESSAGE]]
        yield _request(command, flags, attr_text(1, table), attr_text(2, name), nested(3, *part), family=family)


def add_elements(table: str, name: str, elements: Sequence[Element], family: int = NFPROTO_INET) -> list[bytes]:
    """Add elements to a set."""
    return list(_elements(_NEWSETELEM, NLM_F_CREATE, table, name, elements, family))


def delete_elements(table: str, name: str, elements: Sequence[Element], family: int = NFPROTO_INET) -> list[bytes]:
    """Delete elements of a set; one that is missing fails the transaction."""
    return list(_elements(_DELSETELEM, 0, table, name, elements, family))


def refill(table: str, chain: Chain, sets: Sequence[Set]) -> list[bytes]:
    """Requests that give a chain other rules, and the sets that they use other elements; all of them exist."""
    requests = [_request(_DELRULE, 0, attr_text(1, table), attr_text(2, chain.name))]
    for item in sets:
        requests.append(_request(_DELSETELEM, 0, attr_text(1, table), attr_text(2, item.name)))
        requests += add_elements(table, item.name, item.elements)
    for rule in chain.rules:
        requests += add_rule(table, chain.name, rule)
    return requests


def _add_chain(table: str, chain: Chain, family: int) -> bytes:
    attrs = [attr_text(1, table), attr_text(3, chain.name)]
    if chain.hook:
        hook = nested(4, attr_be32(1, _HOOKS[chain.hook]), attr(2, struct.pack("!i", chain.priority)))
        attrs += [hook, attr_be32(5, 1), attr_text(7, chain.kind)]
    return _request(_NEWCHAIN, NLM_F_CREATE, *attrs, family=family)


def add_rule(table: str, chain: str, rule: Rule, family: int = NFPROTO_INET) -> list[bytes]:
    """Append a rule to a chain."""
    attrs = (attr_text(1, table), attr_text(2, chain))
    code = nested(4, *[part for expression in rule for part in expression.code])
    return [_request(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, *attrs, code, family=family)]


def replace_table(table: Table) -> list[bytes]:
    """Requests that put `table` in the place of what stands under its name, whatever that is."""
    return [*remove_table(table.name, table.family), *create_table(table)]


def remove_table(table: str, family: int = NFPROTO_INET) -> list[bytes]:
    """Requests that delete a table, there or not."""
    return [add_table(table, family), delete_table(table, family)]


def remove_parts(table: Table, shared: Collection[str]) -> list[bytes]:
    """Requests that take the parts of a table away which `table` has: of the `shared` sets these elements, other sets
    and chains as a whole. What is missing fails the transaction."""
    named = [(attr_text(1, table.name), chain.name) for chain in table.chains]
    requests: list[bytes] = []
    for item in table.sets:
        if item.name in shared:
            requests += delete_elements(table.name, item.name, item.elements, table.family)
    requests += [_request(_DELRULE, 0, of, attr_text(2, name), family=table.family) for of, name in named]
    requests += [_request(_DELCHAIN, 0, of, attr_text(3, name), family=table.family) for of, name in named]
    gone = [item.name for item in table.sets if item.name not in shared]
    of = attr_text(1, table.name)
    return requests + [_request(_DELSET, 0, of, attr_text(2, name), family=table.family) for name in gone]


def create_table(table: Table) -> list[bytes]:
    """Requests that make a table which is not there yet, or add its parts to one that is; they fail as a whole where
    its maps have other elements."""
    name, family = table.name, table.family
    requests = [add_table(name, family), *(_add_chain(name, chain, family) for chain in table.chains)]
    for number, item in enumerate(table.sets, 1):
        requests.append(_add_set(name, item, number, family))
        requests += add_elements(name, item.name, item.elements, family)
    for chain in table.chains:
        for rule in chain.rules:
            requests += add_rule(name, chain.name, rule, family)
    return requests
