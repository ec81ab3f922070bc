"""Addresses as the kernel takes them: text to bytes. Pure; any process."""

from __future__ import annotations

import socket


def mac_bytes(mac: str) -> bytes:
    """The six bytes of `02:42:ac:11:00:02`. Raises ValueError."""
    raw = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    if len(raw) != 6:
        raise ValueError(f"invalid MAC address {mac!r}")
    return raw


def ip_bytes(address: str) -> bytes:
    """The 4 or 16 bytes of an address. Raises ValueError."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        raise ValueError(f"invalid IP address {address!r}") from None


def family_of(raw: bytes) -> int:
    """AF_INET or AF_INET6, by length."""
    return socket.AF_INET if len(raw) == 4 else socket.AF_INET6
