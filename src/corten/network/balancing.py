"""Which member of a service gets the next connection: members in, a cycle of slots out. Pure; daemon only.

The packet filter counts new connections through a map of slots (`network.nft_balancing`), relays count through the same
slots by `Picker`. Round robin honours weights: a cycle has as many slots for a member as its weight says, spread over
it. Source-hash has a fixed number of slots, given to members by rendezvous hashing (Thaler and Ravishankar, 1998): when
a member leaves only its own slots change hands, so the others' clients keep their members.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from corten.network.ipam import IPAddress

MAX_WEIGHT = 100
HASH_SLOTS = 256


class Balance(StrEnum):
    """How connections are spread.

    ROUND_ROBIN and WEIGHTED: in turn, by weights, which are 1 unless given; the second name says that some are given.
    SOURCE_HASH: by the client's address, always to the same member.
    """

    ROUND_ROBIN = "round-robin"
    WEIGHTED = "weighted"
    SOURCE_HASH = "source-hash"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Backend:
    """Where connections go: an address, a port (0: the one that was asked for), and the share."""

    address: IPAddress
    port: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A container that serves now: its addresses, and its share."""

    addresses: tuple[IPAddress, ...]
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the rules must know of a service: its addresses, and who serves now."""

    balance: Balance = Balance.ROUND_ROBIN
    addresses: tuple[IPAddress, ...] = ()
    members: tuple[Member, ...] = ()

    def backends(self, version: int) -> tuple[Backend, ...]:
        """The members' addresses of a family."""
        return tuple(
            Backend(address=address, weight=member.weight)
            for member in self.members
            for address in member.addresses
            if address.version == version
        )


def slots(backends: Sequence[Backend], balance: Balance) -> tuple[int, ...]:
    """The cycle: an index of `backends` for each slot; empty when there are none."""
    return _cycle(tuple(backends), balance)


@lru_cache(maxsize=256)
def _cycle(backends: tuple[Backend, ...], balance: Balance) -> tuple[int, ...]:
    """All clients have the same cycles, and a relay goes by one for each connection: milliseconds with many members."""
    if not backends:
        return ()
    if balance is Balance.SOURCE_HASH:
        claims = [_claims(backend) for backend in backends]
        return tuple(max(range(len(backends)), key=lambda index: claims[index][slot]) for slot in range(HASH_SLOTS))
    divisor = math.gcd(*(backend.weight for backend in backends))
    return tuple(_interleaved([backend.weight // divisor for backend in backends]))


def _interleaved(weights: Sequence[int]) -> list[int]:
    """Each index as often as its weight, as far apart as can be: everybody's claim grows by his weight, the greatest
    claim is met and pays for it (nginx's smooth weighted round robin)."""
    total = sum(weights)
    claims = [0] * len(weights)
    found = []
    for _ in range(total):
        for index, weight in enumerate(weights):
            claims[index] += weight
        chosen = max(range(len(weights)), key=lambda index: (claims[index], -index))
        claims[chosen] -= total
        found.append(chosen)
    return found


@lru_cache(maxsize=1024)
def _claims(backend: Backend) -> tuple[tuple[float, bytes], ...]:
    """How much a backend wants each slot: weight / -ln(hash), so that the greatest ones are a share by weight."""

    def claim(slot: int) -> tuple[float, bytes]:
        key = slot.to_bytes(2, "big") + backend.address.packed + backend.port.to_bytes(2, "big")
        digest = hashlib.blake2b(key, digest_size=8).digest()
        return backend.weight / -math.log((int.from_bytes(digest, "big") + 1) / (2**64 + 1)), digest

    return tuple(map(claim, range(HASH_SLOTS)))


class Picker:
    """Goes through the slots of one port, for connections that the daemon relays itself."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, backends: Sequence[Backend], balance: Balance, client: str) -> Backend | None:
        """Who gets the connection of `client`; None when nobody serves."""
        cycle = slots(backends, balance)
        if not cycle:
            return None
        if balance is Balance.SOURCE_HASH:
            digest = hashlib.blake2b(client.encode(), digest_size=8).digest()
            return backends[cycle[int.from_bytes(digest, "big") % len(cycle)]]
        self._turn += 1
        return backends[cycle[self._turn % len(cycle)]]
