"""The state machine of a container: pure. Everything else asks `transition` and records what it answers. Daemon.

                 START                PAUSE
    created ---------------> running --------> paused
       |                     ^  |  | <-------- |
       |               START |  |  |  UNPAUSE  | EXIT (killed while paused)
       |                     |  |  |           v
       |        exited <-----+--+--+---------- .
       |         |   ^  EXIT    |
       |         |   | CANCEL   | EXIT_AGAIN (the restart policy wants another run)
       |         |   +------ restarting ----> running (START)
       | REMOVE  | REMOVE       | REMOVE (forced)
       +---------+-> removing <-+
                        |  REMOVE_FAILED
                        +---------------> dead ---REMOVE---> removing

Docker's booleans (Running, Paused, Restarting, Dead) are computed from the state, never stored beside it. A removed
container has no state: its record is gone. A start that fails leaves the state as it was.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from corten.errors import Conflict, CortenError, NotModified
from corten.spec.docker import messages


class Status(StrEnum):
    """The states, in the words of the API."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"

    @property
    def is_running(self) -> bool:
        """Docker's Running: also while paused or between two runs."""
        return self in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)

    @property
    def has_process(self) -> bool:
        """Whether there is a process now."""
        return self in (Status.RUNNING, Status.PAUSED)


class Event(StrEnum):
    """What can happen to a container."""

    START = "start"
    EXIT = "exit"
    EXIT_AGAIN = "exit-again"
    CANCEL = "cancel"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    REMOVE = "remove"
    REMOVE_FORCED = "remove-forced"
    REMOVE_FAILED = "remove-failed"


TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.CREATED, Event.START): Status.RUNNING,
    (Status.EXITED, Event.START): Status.RUNNING,
    (Status.RESTARTING, Event.START): Status.RUNNING,
    (Status.RUNNING, Event.EXIT): Status.EXITED,
    (Status.PAUSED, Event.EXIT): Status.EXITED,
    (Status.RUNNING, Event.EXIT_AGAIN): Status.RESTARTING,
    (Status.PAUSED, Event.EXIT_AGAIN): Status.RESTARTING,
    (Status.RESTARTING, Event.CANCEL): Status.EXITED,
    (Status.RUNNING, Event.PAUSE): Status.PAUSED,
    (Status.PAUSED, Event.UNPAUSE): Status.RUNNING,
    (Status.CREATED, Event.REMOVE): Status.REMOVING,
    (Status.EXITED, Event.REMOVE): Status.REMOVING,
    (Status.DEAD, Event.REMOVE): Status.REMOVING,
    (Status.CREATED, Event.REMOVE_FORCED): Status.REMOVING,
    (Status.EXITED, Event.REMOVE_FORCED): Status.REMOVING,
    (Status.DEAD, Event.REMOVE_FORCED): Status.REMOVING,
    (Status.RESTARTING, Event.REMOVE_FORCED): Status.REMOVING,
    (Status.REMOVING, Event.REMOVE_FAILED): Status.DEAD,
}

# {0} is the id, {1} the name.
_REFUSALS: dict[tuple[Status, Event], tuple[type[CortenError], str]] = {
    (Status.RUNNING, Event.START): (NotModified, "container already started"),
    (Status.PAUSED, Event.START): (Conflict, messages.CANNOT_START_PAUSED),
    (Status.REMOVING, Event.START): (Conflict, messages.MARKED_FOR_REMOVAL),
    (Status.DEAD, Event.START): (Conflict, messages.MARKED_FOR_REMOVAL),
    (Status.PAUSED, Event.PAUSE): (Conflict, messages.ALREADY_PAUSED),
    (Status.RESTARTING, Event.PAUSE): (Conflict, messages.CANNOT_PAUSE_RESTARTING),
    (Status.RUNNING, Event.REMOVE): (Conflict, messages.REMOVE_RUNNING.format("{1}")),
    (Status.PAUSED, Event.REMOVE): (Conflict, messages.REMOVE_PAUSED.format("{1}")),
    (Status.RESTARTING, Event.REMOVE): (Conflict, messages.REMOVE_RESTARTING.format("{1}")),
    (Status.REMOVING, Event.REMOVE): (Conflict, messages.REMOVAL_IN_PROGRESS.format("{1}")),
    (Status.REMOVING, Event.REMOVE_FORCED): (Conflict, messages.REMOVAL_IN_PROGRESS.format("{1}")),
}


def transition(status: Status, event: Event, *, cid: str = "", name: str = "") -> Status:
    """The state after `event`. Raises Conflict (or NotModified) with Docker's text when it cannot happen now."""
    after = TRANSITIONS.get((status, event))
    if after is not None:
        return after
    refusal = _REFUSALS.get((status, event))
    if refusal is not None:
        kind, text = refusal
        raise kind(text.format(cid, name))
    if event is Event.UNPAUSE:
        raise Conflict(messages.NOT_PAUSED.format(cid))
    if event is Event.PAUSE:
        raise Conflict(messages.NOT_RUNNING.format(cid))
    raise Conflict(f"container {cid} is {status}: {event} is not possible now")


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a container stands: one state and the facts about its last run. Times are Unix nanoseconds, 0 is never."""

    status: Status = Status.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    restart_count: int = 0
    # `docker stop`: unless-stopped stays down, also over a restart of the daemon
    manually_stopped: bool = False
