"""Contexts that clients have sent, kept so that they need send only what has changed. Daemon's loop; disk threads.

A context is known by its name and by what its client says of its directory. Builds that are started at once wait for
each other, so that the files are sent once; but not for long, since a client may stop. They are shown and pruned with
the build cache, as `source.local`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from corten.build.session import kept
from corten.build.session.kept import About, Known
from corten.build.session.listing import Entry
from corten.build.session.pack import Pack
from corten.engine.images.settled import never_half_done
from corten.lib import blocking
from corten.lib.keylock import KeyLock

_MANY = 64
_PATIENCE_S = 15.0
_ID_BYTES = 16


@dataclass(slots=True)
class Kept:
    """A context that is being brought up to date: what is known of it, with its packs, and a pack for what comes. `id`
    is empty for one that is not kept; `name` is what is told of it."""

    id: str
    name: str
    known: Known
    packs: dict[str, Pack]
    new: Pack

    def close(self) -> None:
        """Give it up."""
        for pack in (*self.packs.values(), self.new):
            pack.close()


class KeptContexts:
    """All of them, below `root`; one a daemon."""

    def __init__(self, root: Path, *, patience_s: float = _PATIENCE_S) -> None:
        self._root = root
        self._patience_s = patience_s
        self._turns = KeyLock()
        self._locks = KeyLock()
        self._abouts: dict[str, About] = dict(kept.sweep(root))

    def abouts(self) -> Mapping[str, About]:
        """What is told of each, by its id."""
        return dict(self._abouts)

    async def scratch(self) -> Kept:
        """One that is not kept."""
        return Kept("", "", Known(), {}, await blocking.run(Pack.new, self._root))

    @asynccontextmanager
    async def hold(self, key: str, name: str) -> AsyncIterator[Kept]:
        """The context of a key to be brought up to date in the block, usually alone; `name` is what is told of it. The
        caller closes it."""
        one = _id(key)
        async with AsyncExitStack() as turn:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await turn.enter_async_context(self._turns.hold(one))
            async with self._locks.hold(one):
                context = await self._load(one, name)
            yield context

    @never_half_done
    async def _load(self, one: str, name: str) -> Kept:
        known, packs = await blocking.run(kept.load, self._root / one)
        try:
            return Kept(one, name, known, packs, await blocking.run(Pack.new, self._root))
        except BaseException:
            for pack in packs.values():
                pack.close()
            raise

    @never_half_done
    async def save(self, context: Kept, entries: list[Entry], *, is_changed: bool) -> list[Entry]:
        """Keep what a transfer gave: the list with the places as they are now."""
        async with self._locks.hold(context.id):
            return await self._save(context, entries, is_changed=is_changed)

    async def _save(self, context: Kept, entries: list[Entry], *, is_changed: bool) -> list[Entry]:
        one = context.id
        is_changed = is_changed or one not in self._abouts  # deleted meanwhile
        about = self._abouts.get(one) or About(name=context.name, created_ns=time.time_ns())
        size = about.size
        if is_changed:
            entries, size = await blocking.run(
                kept.save, self._root / one, entries, context.known, context.packs, context.new
            )
        about = msgspec.structs.replace(about, size=size, used_ns=time.time_ns(), uses=about.uses + 1)
        await blocking.run(kept.write_about, self._root / one, about)
        self._abouts[one] = about
        return entries

    async def remove(self, ids: Collection[str]) -> int:
        """Delete some; how many bytes they had."""
        return sum([await self._remove(one) for one in ids])

    @never_half_done
    async def _remove(self, one: str) -> int:
        async with self._locks.hold(one):
            about = self._abouts.pop(one, None)
            await blocking.run(kept.remove, self._root / one)
            return about.size if about is not None else 0

    async def trim(self, limit_bytes: int) -> None:
        """Delete those used least recently, as far as there is too much; none that is being sent."""
        await self.remove([one for one in oldest_above(self._abouts, limit_bytes) if not self._turns.locked(one)])


def oldest_above(abouts: Mapping[str, About], limit_bytes: int) -> list[str]:
    """Which to delete so that the others fit into the limit, and are not too many. Pure."""
    gone: list[str] = []
    total = 0
    for number, (one, about) in enumerate(sorted(abouts.items(), key=lambda item: item[1].used_ns, reverse=True)):
        if number >= _MANY or (total + about.size > limit_bytes):
            gone.append(one)
        else:
            total += about.size
    return gone


def _id(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[: 2 * _ID_BYTES]
