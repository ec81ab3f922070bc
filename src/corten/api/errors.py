"""The HTTP edge of errors: one table from kind to status, one form of body. Daemon only.

Docker answers every error with `{"message": "..."}`; `hint` is added when there is one (clients ignore what they do not
know, `corten` prints it). Nothing else in the daemon knows status codes.
"""

from __future__ import annotations

import asyncio
import logging

from corten import errors
from corten.api.routing import Response, json_response
from corten.lib.disk_full import is_disk_full, words

_LOG = logging.getLogger("corten.api")

STATUS: dict[type[BaseException], int] = {
    errors.InvalidArgument: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotModified: 304,
    errors.FailedPrecondition: 400,
    errors.ResourceExhausted: 500,
    errors.Unavailable: 503,
    errors.NotImplemented: 501,
    errors.DataLoss: 500,
    errors.Cancelled: 500,
    errors.Internal: 500,
    errors.CortenError: 500,
    asyncio.CancelledError: 503,
}


def status_of(error: BaseException) -> int:
    """The HTTP status of an error: that of the nearest kind among its classes, else 500."""
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status is not None:
            return status
    return 500


def error_response(error: BaseException) -> Response:
    """The answer to a request that failed. What nobody mapped is a bug or the kernel's: it is logged with its trace."""
    status = status_of(error)
    if status == 304:
        return Response(status=304)
    if isinstance(error, errors.CortenError):
        text, hint = error.message, error.hint
        if isinstance(error, errors.Internal):
            _LOG.error("internal error", exc_info=error)
    elif isinstance(error, asyncio.CancelledError):
        text, hint = "the daemon is shutting down", ""
    else:
        text, hint = words(error) or type(error).__name__, str(getattr(error, "hint", ""))
        _LOG.error("request failed: %s", text, exc_info=None if is_disk_full(error) else error)
    return message_response(status, text, hint)


def message_response(status: int, text: str, hint: str = "") -> Response:
    """An error body in Docker's form."""
    # Undecodable bytes of a path (surrogates) must not make the error itself unencodable.
    body = {"message": text.encode("utf-8", "replace").decode()}
    if hint:
        body["hint"] = hint
    return json_response(body, status)
