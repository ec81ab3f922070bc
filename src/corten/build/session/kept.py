"""What is kept of a received context on disk: its list and its packs, in a directory of its own. Daemon; blocking.

    <sha256 of the key>/about        what it is, when it was used: JSON, read at the daemon's start
    <sha256 of the key>/index        the list with places: MessagePack, written last
    <sha256 of the key>/pack-*       bytes

The index replaces the one before in one step; packs that it does not name are deleted. Nothing is synced to the disk:
an index that was written before the machine was started again is thrown away, and the client sends its files once more.
Files that the last list does not have stay for some more: another build may take another part of the same directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from corten.build.session.listing import Entry, Place
from corten.build.session.pack import Pack
from corten.errors import InvalidArgument
from corten.lib import codec
from corten.lib.atomicfile import write_atomic
from corten.lib.disk_full import saying

_FORMAT = 1
_IDLE = 8  # lists that a file may be missing from until it is forgotten
_PACKS = 8  # of one context; with more, all is taken over into one
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a kept context. `size` is the bytes of its packs."""

    name: str
    size: int = 0
    created_ns: int = 0
    used_ns: int = 0
    uses: int = 0


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a context: the last list, and files of earlier ones, with how many lists ago they were."""

    entries: list[Entry] = []
    idle: list[tuple[int, Entry]] = []


class _Index(msgspec.Struct, frozen=True, array_like=True):
    format: int
    boot_id: str
    known: Known


def read_about(directory: Path) -> About | None:
    """What a directory has; None when it is no kept context (any more)."""
    try:
        return codec.decode(About, (directory / "about").read_bytes())
    except (OSError, InvalidArgument):
        return None


def write_about(directory: Path, about: About) -> None:
    """Replace what is told of it. Raises OSError."""
    write_atomic(directory / "about", codec.encode(about), durable=False)


def load(directory: Path) -> tuple[Known, dict[str, Pack]]:
    """What is known, and the packs opened; nothing when there is none that can be trusted."""
    try:
        index = msgspec.msgpack.decode((directory / "index").read_bytes(), type=_Index)
    except (OSError, msgspec.DecodeError, ValueError):
        return Known(), {}
    if index.format != _FORMAT or index.boot_id != boot_id():
        return Known(), {}
    packs: dict[str, Pack] = {}
    try:
        for entry in (*index.known.entries, *(entry for _, entry in index.known.idle)):
            if entry.place is not None and entry.place.pack not in packs:
                packs[entry.place.pack] = Pack.open(directory, entry.place.pack)
    except OSError:
        for pack in packs.values():
            pack.close()
        return Known(), {}
    return index.known, packs


def save(
    directory: Path, entries: list[Entry], before: Known, packs: Mapping[str, Pack], new: Pack
) -> tuple[list[Entry], int]:
    """Keep a list, whose new bytes are in `new` and the others in `packs`: the list as it is kept, and how many bytes
    it takes. Raises DiskFull, OSError; what was kept before stays then."""
    known = Known(entries, idle_after(before, entries))
    with saying("keep the files of a build"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = _taken_over(known, packs, new, directory)
        files = (*known.entries, *(entry for _, entry in known.idle))
        used = {entry.place.pack for entry in files if entry.place is not None}
        if new.name in used:
            new.keep(directory)
        index = _Index(_FORMAT, boot_id(), known)
        try:
            write_atomic(directory / "index", msgspec.msgpack.encode(index), durable=False)
        except BaseException:
            _remove_packs(directory, {new.name})
            raise
    _remove_packs(directory, {name for name in os.listdir(directory) if name not in used})
    return known.entries, sum(pack.size for pack in {**packs, new.name: new}.values() if pack.name in used)


def _remove_packs(directory: Path, names: Iterable[str]) -> None:
    for name in names:
        if name not in ("index", "about"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(directory / name)


def idle_after(before: Known, entries: Iterable[Entry]) -> list[tuple[int, Entry]]:
    """The files of earlier lists that stay for now. Pure."""
    here = {entry.path for entry in entries}
    known = [(-1, entry) for entry in before.entries if entry.place is not None] + before.idle
    return [(age + 1, entry) for age, entry in known if age + 1 < _IDLE and entry.raw and entry.path not in here]


def _taken_over(known: Known, packs: Mapping[str, Pack], new: Pack, directory: Path) -> Known:
    """With the bytes of packs that are mostly unused or were deleted meanwhile, or of all when they are too many, in
    the new one."""
    live: dict[str, int] = {}
    for entry in (*known.entries, *(entry for _, entry in known.idle)):
        if entry.place is not None and entry.place.pack != new.name:
            live[entry.place.pack] = live.get(entry.place.pack, 0) + entry.place.length
    moving = {
        name
        for name, size in live.items()
        if 2 * size < packs[name].size or len(live) >= _PACKS or not (directory / name).exists()
    }
    if not moving:
        return known
    return Known(
        [_moved(entry, moving, packs, new) for entry in known.entries],
        [(age, _moved(entry, moving, packs, new)) for age, entry in known.idle],
    )


def _moved(entry: Entry, moving: Collection[str], packs: Mapping[str, Pack], new: Pack) -> Entry:
    place = entry.place
    if place is None or place.pack not in moving:
        return entry
    offset = new.copy(packs[place.pack], place.offset, place.length)
    return msgspec.structs.replace(entry, place=Place(new.name, offset, place.length, place.digest))


def remove(directory: Path) -> None:
    """Delete one; its index first, so that no half of it is taken for a whole."""
    for name in ("index", "about"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory / name)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def sweep(root: Path) -> Iterable[tuple[str, About]]:
    """At the daemon's start: what is kept, by its directory's name. What is unfinished goes."""
    try:
        with os.scandir(root) as found:
            names = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for name in names:
        about = read_about(root / name)
        if about is None or not (root / name / "index").exists():
            remove(root / name)
        else:
            yield name, _tidied(root / name, about)


def _tidied(directory: Path, about: About) -> About:
    """Delete what a daemon that was killed has written last and put in no index, if there is more than is told of."""
    sizes = {name: (directory / name).stat().st_size for name in os.listdir(directory) if name.startswith("pack-")}
    if sum(sizes.values()) == about.size:
        return about
    _, packs = load(directory)
    for pack in packs.values():
        pack.close()
    _remove_packs(directory, set(sizes) - set(packs))
    return msgspec.structs.replace(about, size=sum(size for name, size in sizes.items() if name in packs))


def boot_id() -> str:
    """Which start of the machine this is."""
    return _BOOT_ID.read_text().strip()
