"""What of other servers' answers a limited container is told."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel.network.asking import AAAA, MX, SRV, A, parse, query

from corten.network.dns import message
from corten.network.dns.relayed import HTTPS, MAX_ADDRESSES, admitted_answer, asked_anew, parse_answer

CNAME, TXT = 5, 16
POINTER = b"\xc0\x0c"


def asked(name="web.example", kind=A):
    return message.parse_query(query(name, kind))


def answer(question, *records, rcode=0, flags=0, authority=b"", additional=b""):
    """A server's answer: records are (kind, ttl, data)."""
    head = struct.pack(
        "!6H", question.identity, 0x8180 | rcode | flags, 1, len(records), bool(authority), bool(additional)
    )
    body = b"".join(POINTER + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data for kind, ttl, data in records)
    return head + question.question + body + authority + additional


def packed(text):
    return ipaddress.ip_address(text).packed


def told(question, data, *, keep=lambda address: True, limit=1232):
    """(rcode, truncated, records), and what was to be admitted with its time to live."""
    seen = []

    def admit(addresses, ttl_s):
        seen.append(([str(a) for a in addresses], ttl_s))
        return [a for a in addresses if keep(str(a))]

    found = admitted_answer(question, data, admit, most_ttl_s=3600, limit=limit)
    assert len(found) <= limit
    assert found[:2] == data[:2]
    rcode, truncated, _name, records = parse(found)
    return rcode, truncated, records, seen


def test_addresses_are_told_when_they_are_admitted_and_aliases_are_folded():
    question = asked()
    data = answer(question, (CNAME, 600, b"\x01a" + POINTER), (A, 60, packed("8.8.8.8")), (A, 90, packed("10.0.0.1")))
    assert told(question, data, keep=lambda a: a != "10.0.0.1") == (
        0, False, ["8.8.8.8"], [(["8.8.8.8", "10.0.0.1"], 60)],
    )  # fmt: skip


def test_clients_keep_no_answer_longer_than_the_rules_do():
    question = asked()
    found = admitted_answer(
        question, answer(question, (A, 90000, packed("8.8.8.8"))), lambda a, ttl: a, most_ttl_s=3600, limit=512
    )
    assert parse_answer(found, question).ttl_s == 3600


def test_one_answer_brings_so_many_addresses_and_no_more():
    question = asked(kind=AAAA)
    records = [(AAAA, 60, packed("2001:4860::")[:15] + bytes([n])) for n in range(100)]
    _rcode, _truncated, records, seen = told(question, answer(question, *records), limit=4096)
    assert len(records) == len(seen[0][0]) == MAX_ADDRESSES


def test_no_address_is_admitted_that_was_not_asked_for():
    for kind in (MX, TXT, SRV, HTTPS, message.ANY):
        question = asked(kind=kind)
        rcode, _truncated, records, seen = told(question, answer(question, (A, 60, packed("8.8.8.8"))))
        assert (rcode, records, seen) in ((0, [], []), (message.SERVFAIL, [], []))
    question = asked(kind=A)
    assert told(question, answer(question, (AAAA, 60, packed("2001:4860::1"))))[2] == []
    assert told(question, answer(question, (A, 60, packed("2001:4860::1"))))[2] == []  # of a wrong length


def test_other_answers_are_relayed_without_what_comes_behind_them():
    question = asked(kind=MX)
    exchange = struct.pack("!H", 10) + b"\x02mx" + POINTER
    extra = b"\x02mx" + POINTER + struct.pack("!HHIH", A, 1, 60, 4) + packed("10.0.0.1")
    data = answer(question, (MX, 60, exchange), additional=extra)
    found = admitted_answer(question, data, lambda a, ttl: a, most_ttl_s=3600, limit=512)
    assert found == answer(question, (MX, 60, exchange))


def test_refusals_and_cut_answers_are_told():
    question = asked()
    assert told(question, answer(question, rcode=3))[:3] == (3, False, [])
    assert told(question, answer(question, flags=0x200))[:3] == (0, True, [])
    question = asked(kind=TXT)
    assert told(question, answer(question, flags=0x200))[:3] == (0, True, [])
    assert told(question, answer(question, *[(TXT, 60, bytes(200))] * 9), limit=512)[:3] == (0, True, [])


def test_nothing_but_the_question_leaves():
    exfiltrating = query("web.example", A, edns=4096)[:-2] + struct.pack("!HHH", 8, 65001, 4) + b"data"
    question = message.parse_query(exfiltrating)
    sent = asked_anew(question)
    assert b"data" not in sent
    again = message.parse_query(sent)
    assert (again.name, again.kind, again.udp_bytes) == ("web.example", A, 1232)


@given(st.binary(max_size=200), st.sampled_from([A, AAAA, MX, HTTPS]))
def test_no_answer_breaks_it(data, kind):
    question = asked(kind=kind)
    found = admitted_answer(question, data, lambda a, ttl: a, most_ttl_s=3600, limit=512)
    assert len(found) <= 512


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_no_cut_or_changed_answer_breaks_it(where, noise):
    question = asked()
    data = answer(question, (CNAME, 5, b"\x01a" + POINTER), *[(A, 60, packed("8.8.8.8"))] * 3)
    where %= len(data)
    for hostile in (data[:where], data[:where] + noise + data[where + len(noise) :]):
        try:
            found = parse_answer(hostile, question)
        except ValueError:
            continue
        assert set(map(str, found.addresses)) <= {"8.8.8.8"} or noise
        assert found.end <= len(hostile) + len(question.question)


def test_too_many_records_are_no_answer():
    question = asked()
    data = answer(question, *[(A, 60, packed("8.8.8.8"))] * 513)
    with pytest.raises(ValueError, match="513 records"):
        parse_answer(data, question)
