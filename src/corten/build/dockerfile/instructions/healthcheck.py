"""HEALTHCHECK: how to tell that a container works. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, parse_command, some_arguments
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import quoted, quoted_list, split_first
from corten.lib.duration import duration_ns, duration_text
from corten.spec.oci_image import Healthcheck

_DURATIONS = ("interval", "timeout", "start-period", "start-interval")
_MINIMUM_NS = 1_000_000
_RETRIES_LIMIT = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck(Instruction):
    """A command with its times, or NONE, which turns off the base image's."""

    keyword = "HEALTHCHECK"
    check: Healthcheck

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`NONE` or `[options] CMD command`; times that are not given are Docker's defaults."""
        kind, command = split_first(some_arguments(node))
        if kind.upper() == "NONE":
            Flags(node)
            if command:
                raise node.error("HEALTHCHECK NONE takes no arguments")
            return cls(node=node, check=Healthcheck(test=["NONE"]))
        flags = Flags(node, texts=(*_DURATIONS, "retries"))
        if kind.upper() != "CMD":
            raise node.error(f"Unknown type {quoted(kind.upper())} in HEALTHCHECK (try CMD)")
        parsed = parse_command(node, command)
        if not any(parsed.words):
            raise node.error("Missing command after HEALTHCHECK CMD")
        times = {name.replace("-", "_"): _duration(node, name, flags.text(name)) for name in _DURATIONS}
        test = ["CMD-SHELL" if parsed.is_shell else "CMD", *parsed.words]
        return cls(node=node, check=Healthcheck(test=test, retries=_retries(node, flags.text("retries")), **times))

    def apply(self, state: StageState) -> StageState:
        """The last one wins."""
        return state.with_config(healthcheck=self.check)

    def created_by(self, state: StageState) -> str:
        """The record as Go prints it."""
        check = self.check
        times = (check.interval, check.timeout, check.start_period, check.start_interval)
        durations = " ".join(f'"{duration_text(time)}"' for time in times)
        return f"{self.keyword} &{{{quoted_list(check.test or [])} {durations} {_rune(check.retries)}}}"


def _duration(node: Node, name: str, text: str) -> int:
    if not text:
        return 0
    try:
        duration = duration_ns(text)
    except ValueError as error:
        raise node.error(str(error)) from error
    if duration and duration < _MINIMUM_NS:
        raise node.error(f"Interval {quoted(name)} cannot be less than 1ms")
    return duration


def _retries(node: Node, text: str) -> int:
    if not text:
        return 0
    try:
        retries = int(text) if len(text) < 12 and text.lstrip("+-").isdecimal() else None
    except ValueError:
        retries = None
    if retries is None or abs(retries) > _RETRIES_LIMIT:
        raise node.error(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    if retries < 0:
        raise node.error(f"--retries cannot be negative ({retries})")
    return retries


def _rune(number: int) -> str:
    """A number as Go's %q prints it: a character."""
    char = chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    special = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'", 92: "\\\\"}
    if number in special:
        return f"'{special[number]}'"
    return f"'{char}'" if char.isprintable() else f"'\\x{number:02x}'" if number < 128 else f"'\\u{number:04x}'"
