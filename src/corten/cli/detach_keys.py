"""The keys that detach from a container: `ctrl-p,ctrl-q` to bytes, and their search in what is typed."""

from __future__ import annotations

from corten.cli.errors import CliError

DEFAULT = "ctrl-p,ctrl-q"
_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """Raises CliError."""
    keys = bytearray()
    for part in text.split(","):
        if len(part) == 1 and part.isascii():
            keys.append(ord(part))
            continue
        letter = part.removeprefix("ctrl-")
        if letter == part or len(letter) != 1:
            raise CliError(f"invalid detach keys ({text}): Unknown character: '{part}'")
        if "a" <= letter <= "z":
            keys.append(ord(letter) - ord("a") + 1)
        elif letter in _SPECIAL:
            keys.append(_SPECIAL[letter])
        else:
            raise CliError(f"invalid detach keys ({text}): Unknown character: '{part}'")
    return bytes(keys)


class DetachFilter:
    """Holds a beginning of the sequence back until it is clear whether the rest follows."""

    __slots__ = ("_held", "_keys")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence was complete)."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._held]
            self._held = 0
            if byte == self._keys[0]:
                self._held = 1
            else:
                passed.append(byte)
        return bytes(passed), False
