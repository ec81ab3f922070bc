"""A DNS client and a DNS server for tests, written apart from the code that they test."""

import os
import socket
import struct

A, PTR, MX, AAAA, SRV = 1, 12, 15, 28, 33


def query(name, kind, *, identity=7, edns=0):
    """A query's bytes."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".") if label)
    extra = struct.pack("!BHHIH", 0, 41, edns, 0, 0) if edns else b""
    return (
        struct.pack("!6H", identity, 0x0100, 1, 0, 0, bool(edns)) + labels + b"\0" + struct.pack("!HH", kind, 1) + extra
    )


def _name(data, offset):
    labels = []
    while data[offset]:
        if data[offset] >= 0xC0:
            rest, _end = _name(data, (data[offset] & 0x3F) << 8 | data[offset + 1])
            return ".".join([*labels, rest]), offset + 2
        labels.append(data[offset + 1 : offset + 1 + data[offset]].decode())
        offset += 1 + data[offset]
    return ".".join(labels), offset + 1


def parse(data):
    """(rcode, truncated, question's name, [record's data as text])."""
    _identity, flags, _questions, answers, _authorities, additional = struct.unpack_from("!6H", data)
    question, offset = _name(data, 12)
    offset += 4
    found = []
    for _ in range(answers + additional):
        _owner, offset = _name(data, offset)
        kind, _klass, _ttl, length = struct.unpack_from("!HHIH", data, offset)
        offset += 10
        if kind == A:
            found.append(socket.inet_ntop(socket.AF_INET, data[offset : offset + 4]))
        elif kind == AAAA:
            found.append(socket.inet_ntop(socket.AF_INET6, data[offset : offset + 16]))
        elif kind == PTR:
            found.append(_name(data, offset)[0])
        elif kind == SRV:
            port = struct.unpack_from("!H", data, offset + 4)[0]
            found.append(f"{_name(data, offset + 6)[0]}:{port}")
        offset += length
    assert offset == len(data)
    return flags & 15, bool(flags & 0x200), question, found


def ask_bytes(data, server="127.0.0.11", timeout=10.0):
    """What a server answers over UDP, b"" for nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((server, 53))
        sock.send(data)
        try:
            return sock.recv(65535)
        except TimeoutError:
            return b""


def ask(name, kind=A, *, edns=0):
    """(rcode, truncated, question, records) over UDP, in the calling namespace."""
    return parse(ask_bytes(query(name, kind, edns=edns)))


def ask_stream(name, kind=A):
    """The same over TCP."""
    data = query(name, kind)
    with socket.create_connection(("127.0.0.11", 53), 10) as sock, sock.makefile("rb") as stream:
        sock.sendall(len(data).to_bytes(2, "big") + data)
        return parse(stream.read(int.from_bytes(stream.read(2), "big")))


def ask_many(names):
    """The records of each name, all asked before the first answer is read; by the answers' ids."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.connect(("127.0.0.11", 53))
        for number, name in enumerate(names):
            sock.send(query(name, A, identity=number))
        answers = {}
        for _ in names:
            data = sock.recv(65535)
            answers[data[0] << 8 | data[1]] = parse(data)[3]
        return [answers[number] for number in range(len(names))]


def serve(writer, address, answers, first_reply="right"):
    """A server that knows `answers` (name -> IPv4) and tells `writer` each question; `first_reply` "wrong" sends
    answers with a wrong id and a wrong question before the right one, "flood" many of them, "none" never answers."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    udp.bind((address, 53))
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, 53))
    tcp.listen()
    os.write(writer, b"r")
    if os.fork() == 0:
        while True:
            client, _peer = tcp.accept()
            with client, client.makefile("rb") as stream:
                data = stream.read(int.from_bytes(stream.read(2), "big"))
                reply = _reply(data, answers)
                client.sendall(len(reply).to_bytes(2, "big") + reply)
    while True:
        data, peer = udp.recvfrom(4096)
        os.write(writer, f"{_name(data, 12)[0]} {peer[1]} {data[0] << 8 | data[1]}\n".encode())
        for _ in range({"wrong": 1, "flood": 50}.get(first_reply, 0)):
            lie = _reply(data, dict.fromkeys(answers, "192.0.2.66"))
            udp.sendto(bytes([lie[0] ^ 1]) + lie[1:], peer)
            udp.sendto(lie.replace(b"example", b"exbmple"), peer)
        if first_reply != "none":
            udp.sendto(_reply(data, answers, udp=True), peer)


def _reply(data, answers, *, udp=False):
    name, end = _name(data, 12)
    address = answers.get(name.lower())
    head = data[:2] + struct.pack("!HHHHH", 0x8180 if address else 0x8183, 1, bool(address), 0, 0)
    if udp and name.startswith("long"):
        return data[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + data[12 : end + 4]
    record = b"\xc0\x0c" + struct.pack("!HHIH", A, 1, 60, 4) + socket.inet_aton(address) if address else b""
    return head + data[12 : end + 4] + record
