"""The instance's nftables table in the kernel, kept equal to what is wanted. Daemon only, blocking (below 1 ms).

Published ports change by set elements alone; networks replace the table, atomically: no packet sees a moment without
rules, and connections that are known go on.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from corten.errors import Unavailable
from corten.linux.netlink import NetlinkError
from corten.network import nft, nft_requests, ruleset
from corten.network.balancing import Service
from corten.network.ipam import IPAddress
from corten.network.nft_balancing import Spread, counts_of, parts_of, silenced
from corten.network.nft_socket import NftSocket
from corten.network.ruleset import NOTHING_RELAYED, BridgeRules, PortRule, Relaying

_LOG = logging.getLogger("corten.network")
_INSTANCE_TABLE = re.compile(r"corten-([0-9a-f]{6})(?:-egress)?")  # the name that the daemon derives from its exec root
_FORWARD4 = Path("/proc/sys/net/ipv4/ip_forward")
_IPV6_CONF = Path("/proc/sys/net/ipv6/conf")


class Firewall:
    """What stands in the table, and the way to change it."""

    def __init__(self, table: str, *, relaying: Relaying = NOTHING_RELAYED) -> None:
        self._table = table
        self._relaying = relaying
        self._socket: NftSocket | None = None
        self._bridges: tuple[BridgeRules, ...] = ()
        self._ports: dict[PortRule, None] = {}
        self._services: Mapping[str, Service] = {}
        self._spreads: list[Spread] = []
        self._guard = False
        self._installed = False

    @property
    def table(self) -> str:
        """The table's name."""
        return self._table

    @property
    def port(self) -> int:
        """The netlink port id that our own changes are made by."""
        return self._open().port

    def enable_forwarding(self, *, ipv6: bool, guard: bool = True) -> None:
        """Let the kernel route between bridges and outside; remember when it was us, for the guard chain.

        With forwarding on the kernel ignores router advertisements unless accept_ra is 2 (ip-sysctl.rst): a host that
        has its own default route from them keeps it.
        """
        if _FORWARD4.read_text().strip() == "0":
            self._guard = guard
            _FORWARD4.write_text("1")
        elif self._open().has_chain(self._table, ruleset.GUARD_CHAIN):
            self._guard = guard
        everywhere = _IPV6_CONF / "all" / "forwarding"
        if ipv6 and everywhere.exists() and everywhere.read_text().strip() == "0":
            for interface in _IPV6_CONF.iterdir():
                accept = interface / "accept_ra"
                if interface.name not in ("all", "lo") and accept.read_text().strip() == "1":
                    accept.write_text("2")
            everywhere.write_text("1")

    def replace(self, bridges: Sequence[BridgeRules], ports: Sequence[PortRule] | None = None) -> None:
        """Make the whole table anew for these networks (and ports, else those known). Raises Unavailable."""
        wanted = dict.fromkeys(ports) if ports is not None else self._ports
        spreads = ruleset.spreads(list(wanted), self._services)
        table = ruleset.build(
            self._table,
            bridges,
            list(wanted),
            guard=self._guard,
            relaying=self._relaying,
            spread=spreads,
            counts=self._counts(spreads),
        )
        self._commit(nft_requests.replace_table(table), "replace the packet filter rules")
        self._bridges, self._ports, self._spreads, self._installed = tuple(bridges), wanted, spreads, True

    def balance(self, services: Mapping[str, Service]) -> set[IPAddress]:
        """Services, their addresses and who serves are now these, by key. Returns who takes no datagrams any more, but
        has flows. Raises Unavailable."""
        self._services = dict(services)
        spreads = ruleset.spreads(list(self._ports), services)
        if not self._installed or spreads == self._spreads:
            return set()
        counts = self._counts(spreads)
        if [spread.name for spread in spreads] != [spread.name for spread in self._spreads]:
            self.replace(self._bridges)
            return silenced(spreads, counts)
        requests: list[bytes] = []
        for spread in spreads:
            if spread not in self._spreads:
                chain, maps = parts_of(spread, counts)
                requests += nft_requests.refill(self._table, chain, maps)
        self._change(requests, "change who serves", self._ports)
        self._spreads = spreads
        return silenced(spreads, counts)

    def counts(self) -> dict[tuple[str, bytes], int]:
        """New connections, by map and backend. Raises OSError."""
        return self._counts(self._spreads)

    def _counts(self, spreads: Sequence[Spread]) -> dict[tuple[str, bytes], int]:
        found: dict[tuple[str, bytes], int] = {}
        for spread in spreads:
            for name in spread.maps:
                found |= counts_of(name, self._open().elements(self._table, name))
        return found

    def expect(self, bridges: Sequence[BridgeRules]) -> None:
        """What `restore` makes from now on, where `replace` failed and there is no way back."""
        self._bridges = tuple(bridges)

    def restore(self) -> bool:
        """Make the table what it was when we last changed it, whatever others did to it since; False when there is to
        be none. Raises Unavailable."""
        if self._installed:
            self.replace(self._bridges)
        return self._installed

    def publish(self, ports: Sequence[PortRule]) -> None:
        """Add published ports. Raises Unavailable."""
        if not ports:
            return
        wanted = dict.fromkeys([*self._ports, *ports])
        if any(port.sources is not None or port.service for port in ports):  # these have chains of their own
            self.replace(self._bridges, list(wanted))
            return
        requests: list[bytes] = []
        for name, elements in ruleset.port_elements(ports).items():
            requests += nft_requests.add_elements(self._table, name, elements)
        self._change(requests, "publish ports", wanted)

    def withdraw(self, ports: Sequence[PortRule]) -> None:
        """Remove published ports. A container port stays exposed while another host port leads to it."""
        if not ports:
            return
        gone_ports = frozenset(ports)
        left = {port: None for port in self._ports if port not in gone_ports}
        if any(port.sources is not None or port.service for port in ports):
            self.replace(self._bridges, list(left))
            return
        stay = {element for elements in ruleset.port_elements(list(left)).values() for element in elements}
        requests: list[bytes] = []
        for name, elements in ruleset.port_elements(ports).items():
            gone = [element for element in elements if element not in stay]
            requests += nft_requests.delete_elements(self._table, name, gone)
        self._change(requests, "withdraw ports", left)

    def uninstall(self) -> None:
        """Remove the table, with all rules."""
        self._ports, self._bridges, self._spreads, self._installed = {}, (), [], False
        self._commit(
            nft_requests.remove_table(self._table),
            "remove the packet filter rules",
        )

    def remove_orphans(self, links: Collection[str]) -> None:
        """Delete the tables of other instances whose bridge is gone: killed daemons whose roots were deleted.

        Such a table would go on masquerading and dropping for its old subnet, which the next instance may be given.
        """
        socket = self._open()
        for table in socket.tables():
            match = _INSTANCE_TABLE.fullmatch(table)
            own = match is None or f"corten-{match[1]}" == self._table
            if match is not None and not own and f"ct{match[1]}" not in links:
                _LOG.warning("removing the packet filter rules that a vanished instance has left: %s", table)
                requests = nft_requests.remove_table(table)
                if table.endswith("-egress"):
                    requests += nft_requests.remove_table(table, nft.NFPROTO_BRIDGE)
                socket.commit(requests, f"remove table {table}")

    def close(self) -> None:
        """Close the socket; the rules stay."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _change(self, requests: list[bytes], what: str, ports: dict[PortRule, None]) -> None:
        """A change of elements; when the table is not as we left it (flushed by someone), the whole is made anew."""
        try:
            self._open().commit(requests, what)
            self._ports = ports
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST):
                raise _unavailable(error) from error
            _LOG.warning(
                "the nftables table was changed by someone else; it is made anew", extra={"table": self._table}
            )
            self.replace(self._bridges, list(ports))

    def _commit(self, requests: list[bytes], what: str) -> None:
        try:
            self._open().commit(requests, what)
        except NetlinkError as error:
            raise _unavailable(error) from error

    def _open(self) -> NftSocket:
        if self._socket is None:
            self._socket = NftSocket()
        return self._socket


def _unavailable(error: NetlinkError) -> Unavailable:
    return Unavailable(str(error), hint="the kernel needs nf_tables with NAT (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT)")
