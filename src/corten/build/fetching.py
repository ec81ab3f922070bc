"""What the daemon fetches for builds: files from web servers and commits of git repositories. Daemon's loop.

One place, so that every way to name a source (ADD, the build context, a named context) has one policy, one set of
bounds, and one memory of what was there before.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from corten.build.face import Offers
from corten.build.fetched_files import FetchedFiles
from corten.build.git.refs import Resolved
from corten.build.git.secrets import authorized
from corten.build.git.ssh_access import SshAccess, ssh_access
from corten.build.git.url import GitUrl
from corten.build.web import Seen, WebUrl, download
from corten.engine.images.progress import Progress, run_cancellable
from corten.errors import InvalidArgument
from corten.lib import blocking, codec
from corten.lib.disk_full import saying
from corten.lib.keylock import KeyLock
from corten.registry.inward import InwardPolicy
from corten.registry.timings import Timings

if TYPE_CHECKING:
    from corten.build.cache import Table
    from corten.build.git.repositories import Repositories
    from corten.registry.transport import Transport

_SEEN_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A file from the web; `file` is the caller's to close, None when it is what was `seen` before."""

    seen: Seen
    file: BinaryIO | None


class Fetching:
    """One a daemon. `transport` is made at the first use; `seen` are records of what URLs gave."""

    def __init__(
        self,
        *,
        transport: Callable[[], Transport],
        policy: InwardPolicy,
        timings: Timings,
        kept: FetchedFiles,
        seen: Table,
    ) -> None:
        self._make_transport = transport
        self._made: Transport | None = None
        self._policy = policy
        self._timings = timings
        self._kept = kept
        self._table = seen
        self._seen = {key: codec.decode(Seen, raw) for key, raw in seen.list()}
        self._locks = KeyLock()

    def _transport(self) -> Transport:
        if self._made is None:
            self._made = self._make_transport()
        return self._made

    async def prune(self) -> int:
        """Forget all that was fetched; how many bytes that frees."""
        for key in list(self._seen):
            self._table.delete(key)
        self._seen.clear()
        return await blocking.run(self._kept.trim, 0, 0)

    # -- git

    def _repositories(self, progress: Progress, access: SshAccess) -> Repositories:
        from corten.build.git.repositories import Repositories

        return Repositories(
            transport=self._transport(),
            policy=self._policy,
            timings=self._timings,
            kept=self._kept,
            cancel=progress.cancel,
            access=access,
        )

    async def commit(self, url: GitUrl, offers: Offers, progress: Progress) -> Resolved:
        """The commit that a URL means now; `offers` has what a server asks for. Raises GitError, NotImplemented,
        InwardRefused, and what the client's answers raise."""
        url = await authorized(url, offers)
        async with ssh_access(offers, self._timings.stall_s) as access:
            return await run_cancellable(progress, "net", self._repositories(progress, access).resolve, url)

    async def checkout(
        self, url: GitUrl, resolved: Resolved, offers: Offers, progress: Progress, *, keeps_git_dir: bool = False
    ) -> BinaryIO:
        """The tar of a commit's files, the caller's to close. Raises as `commit`, and DiskFull."""
        url = await authorized(url, offers)
        async with (
            ssh_access(offers, self._timings.stall_s) as access,
            self._locks.hold(f"{url.remote} {resolved.commit}"),
        ):
            checkout = self._repositories(progress, access).checkout
            return await run_cancellable(progress, "net", checkout, url, resolved, keeps_git_dir=keeps_git_dir)

    # -- the web

    def seen(self, url: WebUrl) -> Seen | None:
        """What a URL gave last time."""
        return self._seen.get(_key(url))

    async def download(
        self, url: WebUrl, progress: Progress, *, checksum: str = "", seen: Seen | None = None
    ) -> Downloaded:
        """The file, unless the server says that it still is what was `seen`. Raises RegistryError, InvalidArgument,
        DownloadFailed, InwardRefused, DiskFull."""
        with saying(f"download {url.url[:256]}"):
            file = await blocking.run(self._kept.new)
            try:
                found = await run_cancellable(
                    progress,
                    "net",
                    download,
                    self._transport(),
                    url,
                    file,
                    seen=seen,
                    room=await blocking.run(self._kept.room),
                    checksum=checksum,
                    cancel=progress.cancel,
                )
            except BaseException:
                file.close()
                raise
        self._remember(url, found)
        if found is seen:
            file.close()
            return Downloaded(seen=found, file=None)
        file.seek(0)
        return Downloaded(seen=found, file=file)

    async def kept_download(self, url: WebUrl, progress: Progress) -> tuple[BinaryIO, Seen]:
        """As `download`, of a file that is kept for the next build; the caller's to close."""
        seen = self.seen(url)
        kept = await blocking.run(self._kept.open, _kept_name(seen)) if seen is not None else None
        try:
            found = await self.download(url, progress, seen=seen if kept is not None else None)
        except BaseException:
            if kept is not None:
                kept.close()
            raise
        if found.file is None:
            assert kept is not None
            return kept, found.seen
        if kept is not None:
            kept.close()
        await blocking.run(self._kept.keep, _kept_name(found.seen), found.file)
        return found.file, found.seen

    def _remember(self, url: WebUrl, seen: Seen) -> None:
        key = _key(url)
        row = msgspec.structs.replace(seen, used_ns=time.time_ns())
        self._table.put(key, codec.encode(row))
        self._seen[key] = row
        if len(self._seen) > _SEEN_LIMIT:
            oldest = min(self._seen, key=lambda found: self._seen[found].used_ns)
            self._table.delete(oldest)
            del self._seen[oldest]


def _key(url: WebUrl) -> str:
    """A digest: a URL may have secrets in its query."""
    return hashlib.sha256(url.url.encode("utf-8", "surrogateescape")).hexdigest()


def _kept_name(seen: Seen) -> str:
    return "web-" + seen.digest.replace(":", "-")


def web_url(text: str) -> WebUrl:
    """The address of a file. Raises InvalidArgument for what is none."""
    from corten.build.location import without_credentials

    try:
        url, authorization = without_credentials(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid URL: {error}") from error
    return WebUrl(url=url, authorization=authorization)
