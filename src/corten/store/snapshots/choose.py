"""Which storage driver a data root has. Blocking; the daemon, once at start.

A data root that holds layers keeps the driver that made them: they could not be read by another one. Otherwise it is
what was asked for, else EROFS where the kernel mounts its images, else unpacked directories.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from corten.errors import FailedPrecondition
from corten.store.erofs.mount import probe
from corten.store.snapshots.formats import IMAGE, Directories, Images, LayerFormat
from corten.store.snapshots.layered import LayeredSnapshots
from corten.store.snapshots.rows import Table

EROFS, OVERLAY = Images.name, Directories.name
# What a configuration may ask for: the driver that is meant, by name.
DRIVERS = {EROFS: EROFS, OVERLAY: OVERLAY, "overlay": OVERLAY, "overlayfs": OVERLAY}
_DIRECTORIES = {EROFS: "erofs", OVERLAY: "overlay"}
_KEY = "driver"


def open_snapshots(directory: Path, *, wanted: str, tables: Callable[[str], Table]) -> LayeredSnapshots:
    """The layers and snapshots below `directory`. `wanted` is a key of DRIVERS, or "".

    Raises FailedPrecondition when the data root has another driver's layers, or the kernel cannot mount them.
    """
    layers, snapshots, storage = tables("layers"), tables("snapshots"), tables("storage")
    kept = dict(storage.list()).get(_KEY, OVERLAY.encode()).decode() if layers.list() or snapshots.list() else ""
    asked = DRIVERS[wanted] if wanted else ""
    if kept and asked and kept != asked:
        raise FailedPrecondition(
            f"{directory} holds layers of the storage driver {kept}, which {asked} cannot use",
            hint=f"leave out storage-driver, or remove all images and containers before it is changed to {asked}",
        )
    directory.mkdir(mode=0o710, exist_ok=True)
    form = _form(directory, kept or asked)
    storage.put(_KEY, form.name.encode())
    return LayeredSnapshots(directory / _DIRECTORIES[form.name], form=form, layers=layers, snapshots=snapshots)


def _form(directory: Path, name: str) -> LayerFormat:
    """The format of driver `name`, of the best one when that is empty."""
    if name == OVERLAY:
        return Directories()
    backing, reason = probe(directory, next((directory / _DIRECTORIES[EROFS]).glob(f"*/{IMAGE}"), None))
    if backing is not None:
        return Images(backing)
    if name:
        raise FailedPrecondition(
            f"the storage driver {name} does not work here: no layer image could be mounted ({reason})",
            hint="it needs Linux 6.4 with EROFS, and a data root that is not on overlayfs or loop devices",
        )
    return Directories()
