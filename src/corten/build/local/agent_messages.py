"""What a key agent of ssh and its clients say to each other: messages of bytes. Pure; stdlib; both ends of a build.

Of the protocol there is what a login takes: which keys there are, and a signature. Everything else (adding and removing
keys, locks, extensions) is refused by an end that is asked for it. Source: draft-miller-ssh-agent, sections 3 to 5;
the data types are those of RFC 4251, section 5.
"""

from __future__ import annotations

import struct

FAILURE = b"\x05"
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14
RSA_SHA2_256 = 2
RSA_SHA2_512 = 4
MESSAGE_LIMIT = 256 << 10  # OpenSSH's
_KEYS_LIMIT = 1000
_U32 = struct.Struct(">I")


class BadMessage(ValueError):
    """It is none of the protocol's."""


def framed(message: bytes) -> bytes:
    """A message with its length."""
    return _U32.pack(len(message)) + message


def length_of(head: bytes) -> int:
    """The length of a message by the four bytes before it. Raises BadMessage for an impossible one."""
    length = int(_U32.unpack(head)[0])
    if not 0 < length <= MESSAGE_LIMIT:
        raise BadMessage(f"a message of {length} bytes")
    return length


def string(data: bytes) -> bytes:
    """A string of RFC 4251."""
    return _U32.pack(len(data)) + data


def mpint(number: int) -> bytes:
    """A number that is not negative."""
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


class Fields:
    """The fields of a message, one after the other. Each raises BadMessage where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        """A uint32."""
        return int(_U32.unpack(self._take(4))[0])

    def string(self) -> bytes:
        """A string."""
        return self._take(self.number())

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise BadMessage("a message ends too early")
        self._at += size
        return taken


def identities_answer(keys: list[tuple[bytes, bytes]]) -> bytes:
    """The public keys with their comments."""
    rows = b"".join(string(blob) + string(comment) for blob, comment in keys)
    return bytes([IDENTITIES_ANSWER]) + _U32.pack(len(keys)) + rows


def parse_identities(message: bytes) -> list[tuple[bytes, bytes]]:
    """The public keys with their comments, of an agent's answer. Raises BadMessage."""
    if message[:1] != bytes([IDENTITIES_ANSWER]):
        raise BadMessage("the agent does not tell its keys")
    fields = Fields(message[1:])
    count = fields.number()
    if count > _KEYS_LIMIT:
        raise BadMessage(f"{count} keys")
    return [(fields.string(), fields.string()) for _ in range(count)]


def sign_request(blob: bytes, data: bytes, flags: int) -> bytes:
    """Ask for a signature by the key with this public part."""
    return bytes([SIGN_REQUEST]) + string(blob) + string(data) + _U32.pack(flags)


def parse_sign_request(message: bytes) -> tuple[bytes, bytes, int]:
    """The public key, what is to be signed, the flags. Raises BadMessage."""
    fields = Fields(message[1:])
    return fields.string(), fields.string(), fields.number()


def sign_answer(algorithm: bytes, signature: bytes) -> bytes:
    """A signature, of RFC 4253 section 6.6."""
    return bytes([SIGN_RESPONSE]) + string(string(algorithm) + string(signature))


def parse_signature(message: bytes) -> bytes:
    """The signature of an agent's answer. Raises BadMessage for a refusal."""
    if message[:1] != bytes([SIGN_RESPONSE]):
        raise BadMessage("the agent refuses to sign")
    return Fields(message[1:]).string()
