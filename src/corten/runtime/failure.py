"""How a start fails: one exception, worded as runc words it, in the parent and in the child. Stdlib only.

Docker's clients decide on these texts (exit codes 125, 126, 127), so they are part of the contract. `StartFailed.text`
is what stands after "unable to start container process: ".
"""

from __future__ import annotations

from typing import Any

from corten.linux.errors import reason


class StartFailed(Exception):
    """The container's process could not be started.

    `stage` names the step (`spawn`, `mount`, `user`, `cwd`, `exec`, `hook`, ...), `errno` is 0 when no system call
    failed, `text` is worded as runc's.
    """

    def __init__(self, stage: str, errno: int, text: str) -> None:
        super().__init__(text)
        self.stage = stage
        self.errno = errno
        self.text = text

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """The message that carries this over a socket."""
        return {"stage": self.stage, "errno": self.errno, "text": self.text}

    @classmethod
    def from_json(cls, message: dict[str, Any]) -> StartFailed:
        """The exception that `to_json` was made of."""
        return cls(str(message["stage"]), int(message["errno"]), str(message["text"]))

    @classmethod
    def from_error(cls, stage: str, error: BaseException, doing: str = "") -> StartFailed:
        """`error` as a failed start; `doing` says what was tried ("set rlimit RLIMIT_NOFILE")."""
        if isinstance(error, StartFailed):
            return error
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        words = reason(number) if number else (str(error) or type(error).__name__)
        hint = getattr(error, "hint", "")
        if hint:
            words = f"{words} ({hint})"
        return cls(stage, number, f"{doing}: {words}" if doing else words)
