"""An instruction's `--flags`: which there are, once or often, with a value or without. Pure; daemon."""

from __future__ import annotations

from collections.abc import Collection

from corten.build.dockerfile.error import did_you_mean
from corten.build.dockerfile.parser import Node


class Flags:
    """The flags of `node`, of which `texts` take a value, `switches` are true or false, and `lists` may be repeated.

    Raises ParseError with Docker's texts for any other, for one given twice, and for a value of the wrong kind.
    """

    def __init__(
        self,
        node: Node,
        *,
        texts: Collection[str] = (),
        switches: Collection[str] = (),
        lists: Collection[str] = (),
    ) -> None:
        self._values: dict[str, list[str]] = {}
        known = [*texts, *switches, *lists]
        for flag in node.flags:
            name, equals, value = flag.removeprefix("--").partition("=")
            if name not in known:
                raise node.error(f"unknown flag: {name}" + did_you_mean(name, known))
            if name in self._values and name not in lists:
                raise node.error(f"duplicate flag specified: {name}")
            if name not in switches and not equals:
                raise node.error(f"missing a value on flag: {name}")
            if name in switches and equals and value.lower() not in ("true", "false"):
                raise node.error(f"expecting boolean value for flag {name}, not: {value}")
            self._values.setdefault(name, []).append(value if equals else "true")

    def text(self, name: str) -> str:
        """The value, or nothing."""
        return self._values.get(name, [""])[0]

    def list_(self, name: str) -> tuple[str, ...]:
        """All values, in order."""
        return tuple(self._values.get(name, ()))

    def switch(self, name: str) -> bool:
        """Whether it is there and not false."""
        return self.text(name).lower() == "true"

    def has(self, name: str) -> bool:
        """Whether it is there at all."""
        return name in self._values
