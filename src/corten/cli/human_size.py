"""Sizes as people write and read them: `64m` to bytes, bytes to `1.23MB` or `1.2MiB`."""

from __future__ import annotations

_FACTORS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def parse_bytes(text: str) -> int:
    """`512m`, `1.5g`, `100`, `64MiB`: powers of 1024, as Docker's RAMInBytes reads. Raises ValueError."""
    end = len(text)
    while end and not (text[end - 1].isdigit() or text[end - 1] == "."):
        end -= 1
    number, suffix = text[:end].rstrip(" "), text[end:].strip(" ").lower()
    if text == "-1":
        return -1
    try:
        value = float(number)
        if value < 0 or not number[0].isdigit():
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(f"invalid size: '{text}'") from None
    unit = suffix[:1]
    if unit not in _FACTORS or suffix not in (unit, f"{unit}b", f"{unit}ib") or (unit == "b" and suffix != "b"):
        raise ValueError(f"invalid suffix: '{text[end:].strip(' ')}'")
    return int(value * _FACTORS[unit])


def _scaled(size: float, base: float, units: tuple[str, ...], digits: int) -> str:
    index = 0
    while size >= base and index < len(units) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{units[index]}" if size else f"0{units[index]}"


def human_size(size: float, digits: int = 3) -> str:
    """Powers of 1000 with `digits` significant digits: `4.27MB`, `13.3kB`."""
    return _expand(_scaled(size, 1000.0, _DECIMAL, digits))


def binary_size(size: float, digits: int = 4) -> str:
    """Powers of 1024: `15.5MiB`."""
    return _expand(_scaled(size, 1024.0, _BINARY, digits))


def _expand(text: str) -> str:
    """Without an exponent: Go's %.4g writes 1.234e+03 only from its precision on, and so do we never."""
    if "e+" not in text:
        return text
    end = text.index("e+") + 4
    return f"{float(text[:end]):.0f}{text[end:]}"
