"""Netlink framing and one blocking socket: messages, attributes, acknowledgements, dumps, batches. Stdlib only.

Used by `linux.rtnetlink` (in init and in the daemon) and by `network.nft`. A request is bytes made by `message`;
several of them go out in one send, the kernel handles them in order and before send returns (netlink(7)), so a batch
costs two system calls. Knows nothing of links or rules.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP_INTR = 0x10

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NLMSGERR_ATTR_MSG = 1

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_SEQ_OFFSET = 8
_RECV_BYTES = 64 * 1024
_TIMEOUT_S = 10.0
_MAX_DUMP_ROUNDS = 8
# What a dump may hold at most: a host with a full BGP table is legal, an endless stream is not.
MAX_DUMP_BYTES = 512 * 1024 * 1024


class NetlinkError(OSError):
    """The kernel refused a request: `errno`, its own explanation when it gave one, and which request of a batch."""

    def __init__(self, code: int, what: str, *, detail: str = "", index: int = 0) -> None:
        super().__init__(code, f"{what}: {os.strerror(code)}" + (f" ({detail})" if detail else ""))
        self.detail = detail
        self.index = index


class Message:
    """One reply or event: type, flags, sequence number, port id of who asked, and the payload behind the header."""

    __slots__ = ("flags", "payload", "port", "seq", "type")

    def __init__(self, kind: int, flags: int, seq: int, payload: bytes, *, port: int = 0) -> None:
        self.type = kind
        self.flags = flags
        self.seq = seq
        self.payload = payload
        self.port = port


def attr(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(value)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind} of {len(value)} bytes is too long")
    return _ATTR.pack(length, kind) + value + b"\0" * (-length & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attr(kind | NLA_F_NESTED, b"".join(attributes))


def attr_u8(kind: int, value: int) -> bytes:
    """An attribute of one byte."""
    return attr(kind, value.to_bytes(1, "little"))


def attr_u16(kind: int, value: int) -> bytes:
    """An attribute of two bytes in host order."""
    return attr(kind, struct.pack("=H", value))


def attr_u32(kind: int, value: int) -> bytes:
    """An attribute of four bytes in host order."""
    return attr(kind, struct.pack("=I", value))


def attr_be32(kind: int, value: int) -> bytes:
    """An attribute of four bytes in network order, as nfnetlink wants its numbers."""
    return attr(kind, struct.pack("!I", value))


def attr_text(kind: int, value: str) -> bytes:
    """A zero-terminated string."""
    return attr(kind, value.encode() + b"\0")


def message(kind: int, flags: int, payload: bytes) -> bytes:
    """A request without its sequence number, which the socket sets when it sends."""
    length = _HEADER.size + len(payload)
    return _HEADER.pack(length, kind, flags | NLM_F_REQUEST, 0, 0) + payload + b"\0" * (-length & 3)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `offset`, the last of each kind; stops at a malformed one."""
    return dict(attribute_list(data, offset))


def attribute_list(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """All attributes in `data` from `offset`, in order, nested flag removed."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises ValueError when their lengths do not add up."""
    offset = 0
    end = len(data)
    while offset + _HEADER.size <= end:
        length, kind, flags, seq, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > end:
            raise ValueError(f"netlink message of {length} bytes at {offset} in a datagram of {end}")
        yield Message(kind, flags, seq, data[offset + _HEADER.size : offset + length], port=port)
        offset += (length + 3) & ~3


def error_of(reply: Message) -> tuple[int, str]:
    """The errno (0 for an acknowledgement) and the kernel's text of an NLMSG_ERROR or NLMSG_DONE message."""
    if len(reply.payload) < 4:
        return 0, ""
    code = -struct.unpack_from("=i", reply.payload)[0]
    detail = ""
    if reply.flags & NLM_F_ACK_TLVS:
        offset = 4 + _HEADER.size
        if not reply.flags & NLM_F_CAPPED and len(reply.payload) >= 8:
            offset = 4 + ((struct.unpack_from("=I", reply.payload, 4)[0] + 3) & ~3)
        text = attributes(reply.payload, offset).get(NLMSGERR_ATTR_MSG, b"")
        detail = text.rstrip(b"\0").decode("utf-8", "replace")
    return code, detail


class NetlinkSocket:
    """A netlink socket of the calling thread's network namespace, or an open one given by descriptor.

    Requests wait for their answers; not for use by two threads at once.
    """

    def __init__(self, protocol: int = NETLINK_ROUTE, *, fileno: int | None = None) -> None:
        if fileno is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        else:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol, fileno=fileno)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        except OSError:
            self._socket.close()
            raise
        self._seq = 0

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def reserve_buffers(self, size: int) -> None:
        """Let one send hold `size` bytes and as many replies wait, beyond the system's limits (needs CAP_NET_ADMIN)."""
        self._socket.setsockopt(socket.SOL_SOCKET, 32, size)  # SO_SNDBUFFORCE
        self._socket.setsockopt(socket.SOL_SOCKET, 33, size)  # SO_RCVBUFFORCE

    @property
    def port(self) -> int:
        """The socket's port id: what the kernel's events of our own requests carry; 0 before the first request."""
        name = self._socket.getsockname()
        return int(name[0])

    def subscribe(self, group: int) -> None:
        """Get the events of a multicast group, by `receive`. Bound first: the kernel skips a socket without a port."""
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def number(self, requests: Sequence[bytes]) -> tuple[bytearray, int]:
        """The requests as one buffer with consecutive sequence numbers, and the first of these."""
        first = self._seq + 1
        buffer = bytearray()
        for request in requests:
            self._seq = (self._seq + 1) & 0x7FFFFFFF
            start = len(buffer)
            buffer += request
            struct.pack_into("=I", buffer, start + _SEQ_OFFSET, self._seq)
        return buffer, first

    def send(self, data: bytes | bytearray) -> None:
        """Send a numbered buffer."""
        self._socket.send(data)

    def batch(self, requests: Sequence[bytes], what: str, *, ignore: Sequence[frozenset[int]] = ()) -> None:
        """Send all requests in one datagram and wait until the last is done.

        Only the last one asks for an acknowledgement: the kernel reports each failure by itself and works in order.
        `ignore[i]` are the errno values that request i may fail with. Raises NetlinkError for the first other failure;
        the requests behind a failed one were tried too.
        """
        if not requests:
            return
        buffer, first = self.number(requests)
        last = self._seq
        offset = len(buffer) - len(requests[-1])
        flags = struct.unpack_from("=H", buffer, offset + 6)[0] | NLM_F_ACK
        struct.pack_into("=H", buffer, offset + 6, flags)
        self.send(buffer)
        failure: NetlinkError | None = None
        deadline = time.monotonic() + _TIMEOUT_S
        done = False
        while not done:
            for reply in messages(self.receive(deadline)):
                if reply.type != NLMSG_ERROR or not first <= reply.seq <= last:
                    continue
                done = done or reply.seq == last
                code, detail = error_of(reply)
                index = reply.seq - first
                allowed = ignore[index] if index < len(ignore) else ()
                if code and code not in allowed and failure is None:
                    failure = NetlinkError(code, what, detail=detail, index=index)
        if failure is not None:
            raise failure

    def dump(self, request: bytes, what: str, *, most_bytes: int = MAX_DUMP_BYTES) -> list[Message]:
        """All answers to a dump request. A dump that changes under way is asked again (NLM_F_DUMP_INTR). Raises
        NetlinkError; with EMSGSIZE (more than `most_bytes`) the rest is still to come, and the socket is of no use."""
        found: list[Message] = []
        for _round in range(_MAX_DUMP_ROUNDS):
            found, interrupted = self._dump_once(request, what, most_bytes)
            if not interrupted:
                break
        return found

    def _dump_once(self, request: bytes, what: str, most_bytes: int) -> tuple[list[Message], bool]:
        buffer, first = self.number([request])
        self.send(buffer)
        found: list[Message] = []
        interrupted = False
        received = 0
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            data = self.receive(deadline)
            received += len(data)
            if received > most_bytes:
                raise NetlinkError(errno.EMSGSIZE, what)
            for reply in messages(data):
                if reply.seq != first:
                    continue
                interrupted = interrupted or bool(reply.flags & NLM_F_DUMP_INTR)
                if reply.type in (NLMSG_ERROR, NLMSG_DONE):
                    code, detail = error_of(reply)
                    if code:
                        raise NetlinkError(code, what, detail=detail)
                    return found, interrupted
                found.append(reply)
                if not reply.flags & NLM_F_MULTI:
                    return found, interrupted

    def receive(self, deadline: float) -> bytes:
        """One datagram of the kernel's. Raises NetlinkError ETIMEDOUT at `deadline` (monotonic)."""
        while True:
            try:
                data, sender = self._socket.recvfrom(_RECV_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                left = deadline - time.monotonic()
                if left <= 0 or not poll.poll(int(left * 1000) + 1):
                    raise NetlinkError(errno.ETIMEDOUT, "wait for the kernel's netlink reply") from None
                continue
            if sender[0] == 0:  # another process may write to our port; only the kernel is 0 (netlink(7))
                return data
