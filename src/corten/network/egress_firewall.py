"""The egress tables in the kernel, kept equal to what is limited, and the addresses that names gave. Daemon only,
blocking (below 1 ms but for hundreds of limited containers).

The kernel lets admitted addresses go when their time is over. What is here is the same by our own clock, so that tables
that are made anew have the addresses that are left; after a restart of the daemon they are read back from the kernel.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from corten.errors import Unavailable
from corten.linux.netlink import NetlinkError
from corten.network import nft, nft_requests
from corten.network.egress import EgressList, Ports
from corten.network.egress_rules import NO_LIMITS, SHARED, Limits, build, names_set, parts
from corten.network.ipam import IPAddress
from corten.network.nft_socket import NftSocket

_LOG = logging.getLogger("corten.network")
_MAX_ADDRESSES = 2048  # in one set: a list with a wildcard must not fill the kernel's memory
MOST_TTL_S = 3600
"""For how long clients may keep an answer at most."""
_LEAST_S, _GRACE_S = 60.0, 30.0
_MAX_TIMEOUT_MS = int((MOST_TTL_S + _GRACE_S) * 1000)


@dataclass(slots=True)
class _Admitted:
    until_s: float
    name: str


class EgressFirewall:
    """What stands in the tables `<table>-egress`, and the way to change it."""

    def __init__(self, table: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = f"{table}-egress"
        self._clock = clock
        self._socket: NftSocket | None = None
        self._limits = NO_LIMITS
        self._admitted: dict[str, dict[IPAddress, _Admitted]] = {}  # set -> address -> how long, by which name
        self._log_group: int | None = None
        self._installed = False

    @property
    def table(self) -> str:
        """The tables' name, in both families."""
        return self._table

    @property
    def port(self) -> int:
        """The netlink port id that our own changes are made by."""
        return self._open().port

    @property
    def limits(self) -> Limits:
        """What is limited now."""
        return self._limits

    def replace(self, limits: Limits, *, log_group: int | None) -> None:
        """Make the tables anew for these limits, with the addresses that names gave so far. Raises Unavailable."""
        if not limits.lists and not self._installed:
            self._limits = limits
            return
        wanted = {name for key, listed in limits.lists.items() for name in _name_sets(key, listed)}
        admitted = {name: self._left(name) for name in self._admitted if name in wanted}
        if limits.lists:
            tables = build(self._table, limits, admitted, log_group=log_group)
            requests = [request for table in tables for request in nft_requests.replace_table(table)]
        else:
            requests = self._removal()
        self._commit(requests, "replace the rules of egress lists")
        self._admitted = {name: found for name, found in self._admitted.items() if name in wanted}
        self._limits, self._log_group, self._installed = limits, log_group, bool(limits.lists)

    def change(self, gone: Limits, added: Limits, *, log_group: int | None) -> None:
        """Take some limits away and add others, without a look at the rest. Raises Unavailable."""
        limits = self._limits.without(gone).joined(added)
        if not (self._installed and limits.lists) or log_group != self._log_group:
            self.replace(limits, log_group=log_group)
            return
        requests: list[bytes] = []
        for table in parts(self._table, gone, {}, log_group=None):
            requests += nft_requests.remove_parts(table, SHARED)
        for table in parts(self._table, added, {}, log_group=log_group):
            requests += nft_requests.create_table(table)
        try:
            self._open().commit(requests, "change the rules of egress lists")
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST):
                raise _unavailable(error) from error
            _LOG.warning("the rules of egress lists were changed by someone else; they are made anew: %s", error)
            self.replace(limits, log_group=log_group)
            return
        for target in [name for key, listed in gone.lists.items() for name in _name_sets(key, listed)]:
            self._admitted.pop(target, None)
        self._limits = limits

    def restore(self) -> bool:
        """Make the tables what they were when we last changed them; False when there are to be none. Raises
        Unavailable."""
        if self._installed:
            self.replace(self._limits, log_group=self._log_group)
        return self._installed

    def admit(self, key: str, ports: Ports, name: str, addresses: Iterable[IPAddress], ttl_s: int) -> list[IPAddress]:
        """Let these addresses of a name through at the ports that a list has for it, for as long as clients may keep
        the answer; returns those that are. Raises Unavailable."""
        number = self._limits.lists[key].ports().index(ports)
        now, kept = self._clock(), min(ttl_s, MOST_TTL_S) + _GRACE_S
        until = now + max(kept, _LEAST_S)
        requests: list[bytes] = []
        let: list[IPAddress] = []
        renewed: list[tuple[dict[IPAddress, _Admitted], IPAddress]] = []
        wanted = list(addresses)
        targets = {version: names_set(key, number, version) for version in {address.version for address in wanted}}
        current = {version: self._current(target) for version, target in targets.items()}
        for address in wanted:
            target, present = targets[address.version], current[address.version]
            known = present.get(address)
            if known is None and len(present) >= _MAX_ADDRESSES:
                continue
            let.append(address)
            if known is not None:
                if known.until_s >= now + kept:
                    continue
                requests += nft_requests.delete_elements(self._table, target, [nft.timed_address(address, 0)])
            element = nft.timed_address(address, int((until - now) * 1000))
            requests += nft_requests.add_elements(self._table, target, [element])
            present[address] = _Admitted(until, name)
            renewed.append((present, address))
        try:
            self._change(requests)
        except Unavailable:
            for present, address in renewed:
                present.pop(address, None)
            raise
        return let

    def name_of(self, key: str, address: IPAddress) -> str:
        """The name that an address was admitted for to a list, "" for none."""
        for target, found in self._admitted.items():
            if target.endswith(f"-{key}") and address in found:
                return found[address].name
        return ""

    def adopt(self, limits: Limits) -> None:
        """After a restart: read back what the kernel lets through still, before the tables are made anew."""
        for key, listed in limits.lists.items():
            for name in _name_sets(key, listed):
                self._read_back(name)

    def uninstall(self) -> None:
        """Remove the tables, if they are there: a kernel that cannot have them is not asked. Raises Unavailable."""
        self._limits, self._installed = NO_LIMITS, False
        self._admitted.clear()
        if self._table in self._open().tables():
            self._commit(self._removal(), "remove the rules of egress lists")

    def close(self) -> None:
        """Close the socket; the rules stay."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _removal(self) -> list[bytes]:
        families = (nft.NFPROTO_INET, nft.NFPROTO_BRIDGE)
        return [request for family in families for request in nft_requests.remove_table(self._table, family)]

    def _current(self, target: str) -> dict[IPAddress, _Admitted]:
        """What a set has now, without what has gone."""
        now = self._clock()
        found = {a: entry for a, entry in self._admitted.get(target, {}).items() if entry.until_s > now}
        self._admitted[target] = found
        return found

    def _left(self, target: str) -> dict[IPAddress, int]:
        now = self._clock()
        return {a: max(1, int((e.until_s - now) * 1000)) for a, e in self._current(target).items()}

    def _read_back(self, target: str) -> None:
        now = self._clock()
        found: dict[IPAddress, _Admitted] = {}
        for answer in self._open().elements(self._table, target):
            for key, left_ms in nft_requests.timed_keys(answer):
                if 0 < left_ms <= _MAX_TIMEOUT_MS:
                    found[ipaddress.ip_address(key)] = _Admitted(now + left_ms / 1000, "")
        if found:
            self._admitted[target] = found

    def _change(self, requests: list[bytes]) -> None:
        """A change of elements; when the kernel's are not ours (one has gone just now, or by someone), all is made
        anew."""
        if not requests:
            return
        try:
            self._open().commit(requests, "admit addresses of names")
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST):
                raise _unavailable(error) from error
            _LOG.debug("egress: %s; the tables are made anew", error)
            self.restore()

    def _commit(self, requests: list[bytes], what: str) -> None:
        try:
            self._open().commit(requests, what)
        except NetlinkError as error:
            raise _unavailable(error) from error

    def _open(self) -> NftSocket:
        if self._socket is None:
            self._socket = NftSocket()
        return self._socket


def _name_sets(key: str, listed: EgressList) -> list[str]:
    """The sets that may have addresses of names."""
    return [names_set(key, number, version) for number in range(len(listed.ports())) for version in (4, 6)]


def _unavailable(error: NetlinkError) -> Unavailable:
    return Unavailable(
        str(error),
        hint="egress lists need nf_tables for bridges and reject (CONFIG_NF_TABLES_BRIDGE, CONFIG_NFT_REJECT)",
    )
