"""The closed set of error kinds. Imports nothing; used in every process.

    CortenError
    +-- InvalidArgument      a value that can never work (HTTP 400)
    +-- Unauthorized         no or wrong credentials (401)
    +-- Forbidden            known, but not allowed (403)
    +-- NotFound             no such object (404)
    +-- Conflict             the object's state or name forbids it (409)
    |   +-- AlreadyExists
    +-- NotModified          already in the asked state (304)
    +-- FailedPrecondition   something outside must change first (400 or 500, per edge)
    +-- ResourceExhausted    no space, address, port left (500)
    +-- Unavailable          a peer or the kernel cannot serve now (503)
    +-- NotImplemented       known to the API, not offered (501)
    +-- DataLoss             stored bytes are not what was stored (500)
    +-- Cancelled            the caller went away
    +-- Internal             a bug of ours (500)

Domain errors subclass a kind beside their raiser. Each edge (api/errors.py, cli/errors.py) maps kinds
in one table; nothing else knows status codes. Nothing ever decides on a message text.
"""


class CortenError(Exception):
    """Base of all errors of Corten's own.

    `code` is a stable kebab-case id; `hint` says what a person can do, or is empty.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidArgument(CortenError):
    """A value that can never work."""

    code = "invalid-argument"


class Unauthorized(CortenError):
    """No credentials, or wrong ones."""

    code = "unauthorized"


class Forbidden(CortenError):
    """Known, but not allowed."""

    code = "forbidden"


class NotFound(CortenError):
    """No such object."""

    code = "not-found"


class Conflict(CortenError):
    """The object's state, or another object's name, forbids it."""

    code = "conflict"


class AlreadyExists(Conflict):
    """The name is taken."""

    code = "already-exists"


class NotModified(CortenError):
    """Already in the state that was asked for."""

    code = "not-modified"


class FailedPrecondition(CortenError):
    """Something else must change before this can work."""

    code = "failed-precondition"


class ResourceExhausted(CortenError):
    """No space, address, port or descriptor left."""

    code = "resource-exhausted"


class Unavailable(CortenError):
    """A peer, a registry or a kernel feature cannot serve now."""

    code = "unavailable"


class NotImplemented(CortenError):  # noqa: A001 - the kind's name in every table of the house
    """Known to the API, and not offered."""

    code = "not-implemented"


class DataLoss(CortenError):
    """Stored or received bytes are not what they must be."""

    code = "data-loss"


class Cancelled(CortenError):
    """The caller went away."""

    code = "cancelled"


class Internal(CortenError):
    """A bug of Corten's own."""

    code = "internal"
