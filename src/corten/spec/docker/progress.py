"""One message of a progress stream (pull, push, load, build ...), in Docker's form. Pure; daemon.

Source: Docker's jsonmessage. A message whose `progressDetail` is present but empty belongs to the line of its `id`; one
without it is a line of its own.
"""

from __future__ import annotations

from typing import Any

import msgspec

_BAR = 50


class ProgressDetail(msgspec.Struct, omit_defaults=True, frozen=True):
    """How far a transfer is; all zero is written as `{}`."""

    current: int = 0
    total: int = 0


class ErrorDetail(msgspec.Struct, omit_defaults=True, frozen=True):
    """Why a stream failed."""

    code: int = 0
    message: str = ""


class ProgressMessage(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """One message; fields that are not set are not written."""

    stream: str = ""
    status: str = ""
    progress_detail: ProgressDetail | None = msgspec.field(default=None, name="progressDetail")
    progress: str = ""
    id: str = ""
    aux: Any = None
    error_detail: ErrorDetail | None = msgspec.field(default=None, name="errorDetail")
    error: str = ""


NO_DETAIL = ProgressDetail()


def status(text: str, *, item: str = "") -> ProgressMessage:
    """A line of its own."""
    return ProgressMessage(status=text, id=item)


def layer_status(item: str, text: str) -> ProgressMessage:
    """What the line of `item` says now."""
    return ProgressMessage(status=text, id=item, progress_detail=NO_DETAIL)


def layer_progress(item: str, text: str, current: int, total: int) -> ProgressMessage:
    """How far the work on `item` is; `total` 0 when it is not known."""
    detail = ProgressDetail(current=current, total=total)
    return ProgressMessage(status=text, id=item, progress_detail=detail, progress=render_bar(current, total))


def stream_line(text: str) -> ProgressMessage:
    """Text as it is; it holds its own newline."""
    return ProgressMessage(stream=text)


def failure(text: str) -> ProgressMessage:
    """The last message of a stream that failed."""
    return ProgressMessage(error_detail=ErrorDetail(message=text), error=text)


def human_size(size: float) -> str:
    """`size` as Docker writes it: four significant digits, powers of 1000."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    number = 0
    while size >= 1000 and number < len(units) - 1:
        size /= 1000
        number += 1
    return f"{size:.4g}{units[number]}"


def render_bar(current: int, total: int) -> str:
    """The bar that old clients print as it is."""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{human_size(current):>8}"
    done = min(current * _BAR // total, _BAR)
    return f"[{'=' * done}>{' ' * (_BAR - done)}] {human_size(current):>8}/{human_size(total)}"
