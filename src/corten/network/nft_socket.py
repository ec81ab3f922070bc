"""The socket that nftables transactions go through. Daemon only, blocking; what is sent is made by `network.nft`."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Sequence

from corten.linux.netlink import (
    MAX_DUMP_BYTES,
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLMSG_ERROR,
    Message,
    NetlinkError,
    NetlinkSocket,
    attributes,
    error_of,
    messages,
)
from corten.network import nft_requests

_BUFFER_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5
_TIMEOUT_S = 10.0
_FLAGS_OFFSET = 6
_NFGENMSG = 4  # struct nfgenmsg before the attributes
_NFTA_TABLE_NAME = 1


class NftSocket:
    """Commits transactions to the network namespace it was made in, or that of `netlink`, which it then owns."""

    def __init__(self, netlink: NetlinkSocket | None = None) -> None:
        self._netlink = netlink or NetlinkSocket(NETLINK_NETFILTER)
        try:
            self._netlink.reserve_buffers(_BUFFER_BYTES)
        except OSError:
            self._netlink.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    @property
    def port(self) -> int:
        """By which the kernel's events tell our changes from those of others."""
        return self._netlink.port

    def commit(self, requests: Sequence[bytes], what: str) -> None:
        """Do all requests or none. Raises NetlinkError of the first that was refused."""
        if not requests:
            return
        for attempt in range(_ATTEMPTS):
            try:
                self._commit(requests, what)
            except NetlinkError as error:
                # another writer committed meanwhile, or our receive buffer was short: nothing was done, ask again
                if error.errno not in (errno.EAGAIN, errno.EINTR, errno.ENOBUFS) or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _commit(self, requests: Sequence[bytes], what: str) -> None:
        """One try. The last request asks for the acknowledgement; refusal of the whole has the begin mark's number."""
        buffer, first = self._netlink.number([nft_requests.batch_begin(), *requests, nft_requests.batch_end()])
        last = first + len(requests)
        offset = len(buffer) - len(nft_requests.batch_end()) - len(requests[-1]) + _FLAGS_OFFSET
        struct.pack_into("=H", buffer, offset, struct.unpack_from("=H", buffer, offset)[0] | NLM_F_ACK)
        self._netlink.send(buffer)
        deadline = time.monotonic() + _TIMEOUT_S
        failure: NetlinkError | None = None
        while True:
            for reply in messages(self._netlink.receive(deadline)):
                if reply.type != NLMSG_ERROR or not first <= reply.seq <= last:
                    continue
                code, detail = error_of(reply)
                if code and failure is None:
                    failure = NetlinkError(code, what, detail=detail, index=reply.seq - first - 1)
                if code and reply.seq == first:  # refused as a whole: no acknowledgement follows
                    raise failure or NetlinkError(code, what)
                if reply.seq == last:
                    if failure is not None:
                        raise failure
                    return

    def tables(self) -> list[str]:
        """The names of all tables of the family inet."""
        replies = self._netlink.dump(nft_requests.get_tables(), "list tables")
        names = (attributes(reply.payload, _NFGENMSG).get(_NFTA_TABLE_NAME, b"") for reply in replies)
        return [name.rstrip(b"\0").decode("utf-8", "replace") for name in names]

    def elements(self, table: str, name: str, *, most_bytes: int = MAX_DUMP_BYTES) -> list[Message]:
        """The answers that hold a set's elements; none when there is no such set. Raises NetlinkError as `dump`."""
        try:
            what = f"list {name} of table {table}"
            return self._netlink.dump(nft_requests.get_elements(table, name), what, most_bytes=most_bytes)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return []
            raise

    @property
    def netlink(self) -> NetlinkSocket:
        """The socket itself, for what else netfilter is asked: tracked flows."""
        return self._netlink

    def has_chain(self, table: str, chain: str) -> bool:
        """Whether the kernel has this chain."""
        try:
            return bool(
                self._netlink.dump(nft_requests.get_chain(table, chain), f"look for chain {chain} of table {table}")
            )
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
