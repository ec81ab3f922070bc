"""The name=value pairs of ENV and LABEL. Pure; daemon."""

from __future__ import annotations

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import some_arguments
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.words import split_pairs

Pairs = tuple[tuple[str, str], ...]


def parse_pairs(node: Node) -> tuple[Pairs, bool]:
    """The pairs, and whether they are in the old form. Raises ParseError."""
    Flags(node)
    try:
        pairs, is_legacy = split_pairs(node.name, some_arguments(node), node.escape)
    except ValueError as error:
        raise node.error(str(error)) from error
    if not all(name for name, _value in pairs):
        raise node.error(f"{node.name} names can not be blank")
    return tuple(pairs), is_legacy


def expanded_pairs(pairs: Pairs, expansion: Expansion) -> Pairs:
    """With variables in names and values. Raises ExpansionError."""
    return tuple((expansion.word(name), expansion.word(value)) for name, value in pairs)
