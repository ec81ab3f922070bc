"""What is kept of a received context on disk: its list and its packs, in a directory of its own. Daemon; blocking.

    <sha256 of the key>/about        what it is, when it was used: JSON, read at the daemon's start
    <sha256 of the key>/index        the list with places: MessagePack, written last
    <sha256 of the key>/pack-*       bytes

The index replaces the one before in one step; packs that it does not name are deleted. Nothing is synced to the disk:
an index that was written before the machine was started again is thrown away, and the client sends its files once more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from corten.build.session.listing import Entry, Place
from corten.build.session.pack import Pack
from corten.errors import InvalidArgument
from corten.lib import codec
from corten.lib.atomicfile import write_atomic
from corten.lib.disk_full import saying

_FORMAT = 1
_PACKS = 8  # of one context; with more, all is taken over into one
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a kept context. `size` is the bytes of its packs."""

    name: str
    size: int = 0
    created_ns: int = 0
    used_ns: int = 0
    uses: int = 0


class _Index(msgspec.Struct, frozen=True, array_like=True):
    format: int
    boot_id: str
    entries: list[Entry]


def read_about(directory: Path) -> About | None:
    """What a directory has; None when it is no kept context (any more)."""
    try:
        return codec.decode(About, (directory / "about").read_bytes())
    except (OSError, InvalidArgument):
        return None


def write_about(directory: Path, about: About) -> None:
    """Replace what is told of it. Raises OSError."""
    write_atomic(directory / "about", codec.encode(about), durable=False)


def load(directory: Path) -> tuple[list[Entry], dict[str, Pack]]:
    """The list, and the packs opened; nothing when there is none that can be trusted."""
    try:
        index = msgspec.msgpack.decode((directory / "index").read_bytes(), type=_Index)
    except (OSError, msgspec.DecodeError, ValueError):
        return [], {}
    if index.format != _FORMAT or index.boot_id != boot_id():
        return [], {}
    packs: dict[str, Pack] = {}
    try:
        for entry in index.entries:
            if entry.place is not None and entry.place.pack not in packs:
                packs[entry.place.pack] = Pack.open(directory, entry.place.pack)
    except OSError:
        for pack in packs.values():
            pack.close()
        return [], {}
    return index.entries, packs


def save(directory: Path, entries: list[Entry], packs: Mapping[str, Pack], new: Pack) -> tuple[list[Entry], int]:
    """Keep a list, whose new bytes are in `new` and the others in `packs`: the list as it is kept, and how many bytes
    it takes. Raises DiskFull, OSError; what was kept before stays then."""
    with saying("keep the files of a build"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        entries = _taken_over(entries, packs, new)
        used = {entry.place.pack for entry in entries if entry.place is not None}
        if new.name in used:
            new.keep(directory)
        index = _Index(_FORMAT, boot_id(), entries)
        write_atomic(directory / "index", msgspec.msgpack.encode(index), durable=False)
    for name in os.listdir(directory):
        if name not in used and name not in ("index", "about"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(directory / name)
    return entries, sum(pack.size for pack in {**packs, new.name: new}.values() if pack.name in used)


def _taken_over(entries: list[Entry], packs: Mapping[str, Pack], new: Pack) -> list[Entry]:
    """With the bytes of packs that are mostly unused, or of all when they are too many, in the new one."""
    live: dict[str, int] = {}
    for entry in entries:
        if entry.place is not None and entry.place.pack != new.name:
            live[entry.place.pack] = live.get(entry.place.pack, 0) + entry.place.length
    sparse = {name for name, size in live.items() if 2 * size < packs[name].size or len(live) >= _PACKS}
    if not sparse:
        return entries
    return [_moved(entry, packs, new) if _pack_of(entry) in sparse else entry for entry in entries]


def _pack_of(entry: Entry) -> str:
    return entry.place.pack if entry.place is not None else ""


def _moved(entry: Entry, packs: Mapping[str, Pack], new: Pack) -> Entry:
    place = entry.place
    assert place is not None
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
        names = os.listdir(root)
    except FileNotFoundError:
        return
    for name in names:
        about = read_about(root / name)
        if about is None or not (root / name / "index").exists():
            remove(root / name)
        else:
            yield name, about


def boot_id() -> str:
    """Which start of the machine this is."""
    return _BOOT_ID.read_text().strip()
