"""EXPOSE: ports that the image's containers listen on. Pure; daemon."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, some_arguments
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import split_blanks

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """Ports as written: `port[-port][/protocol]`. What stands before the last colon is passed over, as Docker does."""

    keyword = "EXPOSE"
    ports: tuple[str, ...]

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Words."""
        Flags(node)
        return cls(node=node, ports=tuple(sorted(split_blanks(some_arguments(node)))))

    def expand(self, expansion: Expansion) -> Self:
        """Each may become several."""
        return replace(self, ports=tuple(word for port in self.ports for word in expansion.words(port)))

    def apply(self, state: StageState) -> StageState:
        """Added to what there is. Raises ValueError for no port."""
        exposed = dict(state.config.exposed_ports or {})
        for port in self.ports:
            exposed |= {number: {} for number in _numbers(port)}
        return state.with_config(exposed_ports=exposed)

    def created_by(self, state: StageState) -> str:
        """`EXPOSE map[80/tcp:{}]`, as Go prints a set."""
        numbers = sorted({number for port in self.ports for number in _numbers(port)})
        return f"{self.keyword} map[{' '.join(f'{number}:{{}}' for number in numbers)}]"


def _numbers(port: str) -> list[str]:
    """`80/tcp` for each port of one word."""
    address, _, protocol = port.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"Invalid proto: {protocol}")
    text = address.rpartition(":")[2]
    match = _RANGE.match(text)
    first, last = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (1, 0)
    if not first <= last <= 65535:
        raise ValueError(f"Invalid containerPort: {text}")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]
