"""`--ssh NAME=KEYFILE,...`: a key agent in this process, for one build, as buildx has it.

It tells its public keys and signs with them, and refuses everything else; a key is in the memory of this process alone.
The cryptography is the package of that name, loaded when such an option is given and not before. Keys with a passphrase
are for ssh-agent(1), which asks for it once and not in each build. Signatures by RSA are those with SHA-2 (RFC 8332).
"""

from __future__ import annotations

import _socket
import sys

from corten.build.local import agent_messages as wire
from corten.cli.errors import CliError
from corten.errors import CortenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from corten.cli.build.private_key import PrivateKey

_FILE_LIMIT = 100 << 10  # BuildKit's
ADVICE = "ssh-add the key to an agent, and give --ssh default"


class KeyAgent:
    """Answers for keys of files, on as many connections as are asked for."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Read the keys. Raises CliError."""
        self._keys: dict[bytes, tuple[str, PrivateKey]] = {}
        for path in paths:
            key = _load(path)
            self._keys[key.public] = (path, key)

    def connect(self) -> _socket.socket:
        """A connection to it. Raises OSError."""
        import threading

        ours, theirs = _pair()
        threading.Thread(target=self._serve, args=(ours,), name="ssh keys", daemon=True).start()
        return theirs

    def answer(self, message: bytes) -> bytes:
        """The answer to a message; what is no request of those that are answered is refused."""
        kind = message[:1]
        if kind == bytes([wire.REQUEST_IDENTITIES]):
            return wire.identities_answer([(blob, path.encode()) for blob, (path, _key) in self._keys.items()])
        if kind == bytes([wire.SIGN_REQUEST]):
            try:
                blob, data, flags = wire.parse_sign_request(message)
            except wire.BadMessage:
                return wire.FAILURE
            _path, key = self._keys.get(blob, ("", None))
            return (key.sign(data, flags) if key else None) or wire.FAILURE
        return wire.FAILURE

    def _serve(self, sock: _socket.socket) -> None:
        """Until the other end hangs up, or says what is no message."""
        try:
            while head := _read(sock, 4):
                message = _read(sock, wire.length_of(head))
                if not message:
                    return
                sock.sendall(wire.framed(self.answer(message)))
        except (OSError, wire.BadMessage):
            pass
        finally:
            sock.close()


def _pair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def _read(sock: _socket.socket, size: int) -> bytes:
    """So many bytes; none at the end of the connection."""
    found = b""
    while len(found) < size:
        data = sock.recv(size - len(found))
        if not data:
            return b""
        found += data
    return found


def _load(path: str) -> PrivateKey:
    """A file's key. Raises CliError."""
    if sys.flags.no_site:  # the launcher leaves installed packages out, for the time that finding them takes
        import site

        site.main()
    try:
        from corten.cli.build.private_key import PrivateKey
    except ImportError:
        raise CliError("--ssh with key files needs the Python package cryptography", hint=ADVICE) from None
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT)
    except OSError as error:
        raise CliError(f"ssh: {path}: {(error.strerror or '').lower()}") from None
    try:
        return PrivateKey(data)
    except CortenError as error:
        raise CliError(f"ssh: {path}: {error.message}", hint=error.hint) from None
