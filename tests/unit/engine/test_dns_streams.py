"""Connections to the embedded DNS server: in order, and none has the daemon's loop to itself."""

import asyncio
import itertools
import socket

from corten.engine.networks.dns_stream import DnsStream


def framed(data):
    return len(data).to_bytes(2, "big") + data


async def test_of_many_queries_at_once_a_few_are_answered_in_each_turn_and_all_in_order():
    ours, client = socket.socketpair()
    queries = [b"query %d" % number for number in range(100)]
    answered, turns, closed = [], [], []

    def answer(data):
        answered.append(data)
        return data.upper()

    stream = DnsStream(ours, answer, closed.append)
    with client:
        client.sendall(b"".join(map(framed, queries)) + framed(b"half")[:-1])
        stream.open()
        while len(answered) < len(queries):
            turns.append(len(answered))
            await asyncio.sleep(0)
        assert answered == queries
        assert max(after - before for before, after in itertools.pairwise(turns)) <= 8
        assert turns[0] <= 8
        client.sendall(b"f")
        while len(answered) == len(queries):
            await asyncio.sleep(0)
        assert answered[-1] == b"half"
        assert client.recv(65536) == b"".join(framed(query.upper()) for query in [*queries, b"half"])
        assert closed == []
        client.sendall(b"".join(map(framed, queries)))
        while len(answered) == len(queries) + 1:
            await asyncio.sleep(0)
        stream.close()  # while more is waiting
        count = len(answered)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (len(answered), closed) == (count, [stream])
