"""Sees to it that the instance's rules stay: what others flush or change is put back at once. Daemon only, on the loop.

The kernel tells each change of nftables to the group NFNLGRP_NFTABLES, with the port id of who asked for it. A change
of our table that is not our own (`nft flush ruleset`, a reload script of the host's firewall) is answered by one
transaction that makes the whole table anew: at once, since without its NAT chains the kernel does not translate the
packets of established connections either; and ever later when somebody goes on changing it, so that two programs that
fight cost neither of them the machine.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Protocol

from corten.errors import CortenError
from corten.linux.netlink import NETLINK_NETFILTER, NetlinkError, NetlinkSocket, messages
from corten.network import nft_requests

_LOG = logging.getLogger("corten.network")
_NFNLGRP_NFTABLES = 7
_BUFFER_BYTES = 32 * 1024 * 1024  # a limit, not a reservation: our own largest table must not overrun it
_DATAGRAMS_A_TURN = 256
_FIGHT_DELAY_S, _LAST_DELAY_S = 0.05, 30.0
_CALM_S = 10.0


class Patience:
    """How long to wait before the next repair: not at all, then longer with each that follows in a row. Pure."""

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._last_s: float | None = None

    def next_delay(self, now_s: float) -> float:
        """Seconds to wait for a repair that became necessary at `now_s`."""
        if self._last_s is None or now_s - self._last_s > _CALM_S + self._delay_s:
            self._delay_s = 0.0
        else:
            self._delay_s = min(max(self._delay_s * 2, _FIGHT_DELAY_S), _LAST_DELAY_S)
        self._last_s = now_s
        return self._delay_s


class Repaired(Protocol):
    """What stands in tables of one name, and can be made anew."""

    @property
    def table(self) -> str:
        """The name."""

    @property
    def port(self) -> int:
        """The netlink port id of changes that are not to be repaired."""

    def restore(self) -> bool:
        """Make all of it anew; False when there is to be nothing. Raises CortenError, OSError."""


class FirewallWatch:
    """Repairs one firewall until closed."""

    def __init__(self, firewall: Repaired) -> None:
        self._firewall = firewall
        self._netlink: NetlinkSocket | None = None
        self._repair: asyncio.TimerHandle | None = None
        self._opening: asyncio.TimerHandle | None = None
        self._patience = Patience()
        self._opening_patience = Patience()
        self._culprit = ""

    def start(self) -> None:
        """Begin to watch, on the running loop. Raises OSError."""
        netlink = NetlinkSocket(NETLINK_NETFILTER)
        try:
            netlink.reserve_buffers(_BUFFER_BYTES)
            netlink.subscribe(_NFNLGRP_NFTABLES)
            asyncio.get_running_loop().add_reader(netlink.fileno(), self._read)
        except BaseException:
            netlink.close()
            raise
        self._netlink = netlink

    def close(self) -> None:
        """Stop; the rules stay."""
        if self._repair is not None:
            self._repair.cancel()
            self._repair = None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._shut()

    def _shut(self) -> None:
        if self._netlink is not None:
            asyncio.get_running_loop().remove_reader(self._netlink.fileno())
            self._netlink.close()
            self._netlink = None

    def _open_later(self) -> None:
        """The socket is of no use any more, and its error would wake the loop for ever: another one takes its place."""
        self._shut()
        loop = asyncio.get_running_loop()
        self._opening = loop.call_later(self._opening_patience.next_delay(loop.time()), self._open_again)

    def _open_again(self) -> None:
        self._opening = None
        try:
            self.start()
        except OSError:
            _LOG.exception("changes of the packet filter rules by others are not seen; this is tried again")
            self._open_later()
        else:
            self.repair()  # what happened meanwhile was not seen

    def _read(self) -> None:
        """What the kernel tells. More than a turn's share is read when the loop comes round again."""
        assert self._netlink is not None
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                self._look_at(self._netlink.receive(0.0))
            except NetlinkError:  # nothing more to read
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    _LOG.exception("nftables events cannot be read by this socket any more")
                    self._open_later()
                    return
                self.repair()  # events were lost: ours may be among them
            except ValueError:
                _LOG.exception("an nftables event could not be understood")

    def _look_at(self, datagram: bytes) -> None:
        own = self._firewall.port
        for event in messages(datagram):
            if event.port == own:
                continue
            if nft_requests.touched_table(event) == self._firewall.table:
                self.repair()
            elif self._repair is not None and not self._culprit:
                self._culprit = nft_requests.committer(event)

    def repair(self) -> None:
        """Put the rules back soon, and again until that works."""
        if self._repair is None:
            loop = asyncio.get_running_loop()
            self._culprit = ""
            self._repair = loop.call_later(self._patience.next_delay(loop.time()), self._restore)

    def _restore(self) -> None:
        self._repair = None
        about = {"table": self._firewall.table, "by": self._culprit or "unknown"}
        try:
            if self._firewall.restore():
                _LOG.warning("the packet filter rules were not what they have to be; they were put back", extra=about)
        except (CortenError, OSError):
            _LOG.exception("the packet filter rules could not be put back; this is tried again", extra=about)
            self.repair()
