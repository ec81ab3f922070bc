"""Signals as events in a poll loop: those that are passed on to a container, and changes of the terminal's size.

`_signal` directly: `signal` costs 6 ms to import, for its enums.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has only `signal`
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

# Docker's client passes on all that can be caught but SIGCHLD, SIGPIPE and SIGURG; our own faults are left alone too.
_PROXIED = (
    "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "CONT", "TSTP", "TTIN", "TTOU", "XCPU", "XFSZ", "VTALRM",
    "PROF", "IO", "PWR",
)  # fmt: skip
SIGWINCH = int(_signal.SIGWINCH)
_NAMES = {int(getattr(_signal, f"SIG{name}")): name for name in (*_PROXIED, "WINCH")}


class SignalQueue:
    """Catches signals while it is open; `fd` is readable when `take` has some."""

    __slots__ = ("_saved", "_seen", "_write", "fd")

    def __init__(self, *, proxy: bool, resize: bool) -> None:
        self.fd, self._write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._seen: list[int] = []
        self._saved: dict[int, object] = {}
        for number, name in _NAMES.items():
            if (proxy and name != "WINCH") or (resize and name == "WINCH"):
                previous = _signal.signal(number, self._note)
                if previous == _signal.SIG_IGN and name != "WINCH":
                    _signal.signal(number, _signal.SIG_IGN)  # as nohup and background jobs want it
                else:
                    self._saved[number] = previous

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._seen.append(number)

    def take(self) -> list[int]:
        """The signals that came since the last call."""
        try:
            posix.read(self.fd, 512)
        except BlockingIOError:
            pass
        seen, self._seen = self._seen, []
        return seen

    def close(self) -> None:
        """Give the signals back."""
        _signal.set_wakeup_fd(-1)
        for number, previous in self._saved.items():
            _signal.signal(number, previous)
        posix.close(self.fd)
        posix.close(self._write)


def name_of(number: int) -> str:
    """TERM for 15."""
    return _NAMES.get(number, str(number))
