"""Named places where a test kills or stops the whole daemon: between the steps that a crash must not tear apart.

`CORTEN_FAULT=blob.synced,layer.read:2=STOP` arms places: from the first (or n-th) pass on the process sends itself
SIGKILL, or the named signal. Only who starts the daemon can arm one, and its log says so. When none is armed,
`reach` is a look at an empty dict. tests/faults goes through all of `POINTS`; one that is never reached fails there.
Daemon; any thread.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass

from corten.errors import InvalidArgument

_LOG = logging.getLogger("corten.daemon")
_ROWS = ("images", "layers", "snapshots", "containers", "volumes")
_ROW_STEPS = ("writing", "written", "deleting", "deleted")

POINTS: dict[str, str] = {
    "ingest.opened": "a blob on its way in has a file",
    "ingest.written": "some of its bytes are there",
    "blob.synced": "a blob is verified and on disk, under no name yet",
    "blob.renamed": "it has its name, which is not on disk yet",
    "blob.stored": "a blob is there for good",
    "blob.removing": "the collector deletes a blob",
    "layer.begun": "the first bytes of a layer are read",
    "layer.read": "a layer's tar was read to its verified end, and is not committed",
    "layer.applied": "a layer is there for good",
    "layer.removing": "the collector deletes a layer",
    "network.linked": "a network's link is made, and nothing else is there of it",
    "network.dying": "a network's bridge is out of use, and is not deleted; the record is there",
    "upload.received": "an archive that a client sends is here",
    "build.container.created": "a build's step has its container",
    "build.container.ended": "the command of a build's step has ended",
    "build.step.done": "a build's step has its layer, and no record in the cache",
    "build.step.recorded": "the cache has the record",
    "build.exported": "a build's image has its layers and documents, and is neither recorded nor sent",
    **{f"row.{kind}.{step}": f"a row of {kind}" for kind in _ROWS for step in _ROW_STEPS},
}


@dataclass(slots=True)
class _Armed:
    passes: int
    number: signal.Signals


_armed: dict[str, _Armed] = {}
_lock = threading.Lock()


def reach(name: str) -> None:
    """The daemon is at the place `name`."""
    if _armed:
        _act(name)


def arm(text: str) -> None:
    """Arm what the environment variable says; nothing when it is empty. Raises InvalidArgument."""
    _armed.clear()
    for item in filter(None, text.split(",")):
        place, _, sign = item.partition("=")
        name, _, passes = place.partition(":")
        number = getattr(signal, f"SIG{sign or 'KILL'}", None)
        if name not in POINTS or not (passes or "1").isdigit() or not isinstance(number, signal.Signals):
            raise InvalidArgument(f"CORTEN_FAULT: {item!r} is no place of lib/faultpoint.py, times, and signal")
        _armed[name] = _Armed(int(passes or 1), number)
    if _armed:
        _LOG.warning("this daemon will be ended at fault points", extra={"points": ",".join(_armed)})


def _act(name: str) -> None:
    with _lock:
        armed = _armed.get(name)
        if armed is None:
            return
        armed.passes -= 1
        if armed.passes > 0:
            return
    sys.stderr.write(f"fault point {name}\n")
    sys.stderr.flush()
    os.kill(os.getpid(), armed.number)
