"""What the embedded name server asks outside for one container, and what it tells it, by its egress lists. Daemon only.

A name that is not listed never leaves the engine, whatever the type of the question: NXDOMAIN, which all resolvers take
as final, where REFUSED makes them wait and try again. The addresses of a listed name are let through before the answer
is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from corten.engine.networks.egress import Egress, Listed
from corten.errors import CortenError
from corten.network.dns import message
from corten.network.dns.message import Query
from corten.network.dns.relayed import admitted_answer, asked_anew
from corten.network.egress_firewall import MOST_TTL_S
from corten.network.ipam import IPAddress

_LOG = logging.getLogger("corten.dns")


class NameGate:
    """Stands between one container's questions and the servers outside."""

    def __init__(self, cid: str, egress: Egress) -> None:
        self._cid = cid
        self._egress = egress

    def refusal(self, query: Query, *, limit: int) -> bytes | None:
        """The answer to a question that must not be asked outside, None for others."""
        if self._listed(query) != []:
            return None
        self._egress.denials.name(self._cid, query.name)
        return message.respond(query, message.NXDOMAIN, limit=limit)

    def outgoing(self, query: Query, data: bytes) -> bytes:
        """What is asked outside for what the container sent."""
        return data if self._listed(query) is None else asked_anew(query)

    def incoming(self, query: Query, answer: bytes, *, limit: int) -> bytes:
        """What the container gets for what came from outside. Lists may have changed since the question."""
        found = self._listed(query)
        if found is None:
            return answer
        if not found:
            return message.respond(query, message.NXDOMAIN, limit=limit)

        def admit(addresses: Sequence[IPAddress], ttl_s: int) -> Sequence[IPAddress]:
            return self._admit(query.name, found, addresses, ttl_s)

        return admitted_answer(query, answer, admit, most_ttl_s=MOST_TTL_S, limit=limit)

    def _listed(self, query: Query) -> Listed | None:
        return self._egress.lists_with(self._cid, query.name)

    def _admit(self, name: str, found: Listed, addresses: Sequence[IPAddress], ttl_s: int) -> Sequence[IPAddress]:
        try:
            return self._egress.admit(name, found, addresses, ttl_s)
        except (CortenError, OSError):
            _LOG.exception("the addresses of %s are not let through for container %s", name, self._cid)
            return ()
