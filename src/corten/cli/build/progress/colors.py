"""The colours of the terminal display: blue for what is done, yellow for canceled, red for failed; or none. Pure.

`NO_COLOR` (no-color.org) switches them off. `BUILDKIT_COLORS` changes them, in BuildKit's words:
`run=green:cancel=bold:error=255,0,0`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_RESET = "\x1b[0m"
_FAINT = "2"
_DEFAULT = {"run": "34", "cancel": "33", "error": "31", "warning": "33"}
_NAMES = {
    "black": "30", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
    "white": "37", "light-black": "90", "light-red": "91", "light-green": "92", "light-yellow": "93",
    "light-blue": "94", "light-magenta": "95", "light-cyan": "96", "light-white": "97", "bold": "1",
}  # fmt: skip


class Colors:
    """What a kind of line (`run`, `cancel`, `error`, `faint`) looks like."""

    def __init__(self, codes: Mapping[str, str]) -> None:
        self._codes = codes

    def apply(self, kind: str, text: str) -> str:
        """The text in its colour."""
        code = self._codes.get(kind, "")
        return f"\x1b[{code}m{text}{_RESET}" if code else text


def colors_of(environment: Mapping[str, str]) -> Colors:
    """The colours that the environment asks for; what cannot be understood changes nothing."""
    if environment.get("NO_COLOR"):
        return Colors({})
    codes = {**_DEFAULT, "faint": _FAINT}
    for field in environment.get("BUILDKIT_COLORS", "").split(":"):
        name, _, value = field.partition("=")
        code = _code(value)
        if name in _DEFAULT and code:
            codes[name] = code
    return Colors(codes)


def _code(value: str) -> str:
    if value.lower() in _NAMES:
        return _NAMES[value.lower()]
    parts = value.split(",")
    if len(parts) == 3 and all(
        part.isascii() and part.isdigit() and int(part) <= 255 for part in parts if len(part) < 4
    ):
        return f"38;2;{';'.join(str(int(part)) for part in parts)}" if all(0 < len(part) < 4 for part in parts) else ""
    return ""
