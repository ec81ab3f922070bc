"""A private key of ssh, and the signatures that an agent gives. Imported for `--ssh NAME=KEYFILE` alone: it loads the
package `cryptography`.

Sources: RFC 8709 (Ed25519), RFC 8332 (RSA with SHA-2), RFC 5656 (ECDSA); the files are OpenSSH's and PEM.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from corten.build.local import agent_messages as wire
from corten.errors import InvalidArgument

_ADVICE = "ssh-add the key to an agent, and give --ssh default"
_CURVES: dict[str, tuple[bytes, hashes.HashAlgorithm]] = {
    "secp256r1": (b"ecdsa-sha2-nistp256", hashes.SHA256()),
    "secp384r1": (b"ecdsa-sha2-nistp384", hashes.SHA384()),
    "secp521r1": (b"ecdsa-sha2-nistp521", hashes.SHA512()),
}


class PrivateKey:
    """A key without a passphrase; `public` is its public part as agents tell it."""

    def __init__(self, data: bytes) -> None:
        """Read a file's bytes. Raises InvalidArgument for what is no key that can be used."""
        load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
        try:
            key = load(data, password=None)
        except TypeError:  # which is how it says that a passphrase is missing
            raise InvalidArgument("the key has a passphrase, which is not asked for here", hint=_ADVICE) from None
        except Exception as error:  # of several kinds, by what is wrong
            raise InvalidArgument(f"failed to parse the key: {error}") from None
        if isinstance(key, ec.EllipticCurvePrivateKey):
            is_known = key.curve.name in _CURVES
        else:
            is_known = isinstance(key, (ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey))
        if not is_known:
            raise InvalidArgument("the key is of a kind that is not supported: Ed25519, ECDSA and RSA keys are")
        assert isinstance(key, (ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
        self._key = key
        shown = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        self.public = base64.b64decode(shown.split()[1])

    def sign(self, data: bytes, flags: int) -> bytes | None:
        """An agent's answer; None where it refuses: RSA with SHA-1, which a client has to ask for otherwise."""
        key = self._key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return wire.sign_answer(b"ssh-ed25519", key.sign(data))
        if isinstance(key, ec.EllipticCurvePrivateKey):
            name, digest = _CURVES[key.curve.name]
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
            return wire.sign_answer(name, wire.mpint(r) + wire.mpint(s))
        if flags & wire.RSA_SHA2_512:
            return wire.sign_answer(b"rsa-sha2-512", key.sign(data, padding.PKCS1v15(), hashes.SHA512()))
        if flags & wire.RSA_SHA2_256:
            return wire.sign_answer(b"rsa-sha2-256", key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        return None
