"""Repositories on servers, for one build: the commit of a ref, and the checkout of a commit as a tar. Net threads.

What was checked out once is kept by its commit: a ref that has not moved is looked up, and nothing else is fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from corten.build.fetched_files import FetchedFiles
from corten.build.git.checkout import Checkout, Wanted
from corten.build.git.error import GitError, NotOurRef
from corten.build.git.exchange import Exchange, HttpExchange, TcpExchange
from corten.build.git.pack import Objects, unpack
from corten.build.git.refs import Resolved, candidates, check_commit, resolve_ref
from corten.build.git.remote import ID_BYTES, Remote, connect
from corten.build.git.ssh_target import is_ssh
from corten.build.git.url import GitUrl, is_commit
from corten.build.location import redacted
from corten.errors import NotImplemented as NotOffered
from corten.lib.disk_full import saying
from corten.registry.cancel import Cancel
from corten.registry.errors import RegistryError
from corten.registry.inward import InwardPolicy
from corten.registry.timings import Timings
from corten.registry.transport import Transport

if TYPE_CHECKING:
    from corten.build.git.ssh_access import SshAccess

_FORM = "1"  # of what is kept: files of another one are not found
_EVERYTHING = ("refs/heads/", "refs/tags/")


class Repositories:
    """Asks servers through `transport` and by `policy`; `cancel` ends what it does. `access` is for git over ssh."""

    def __init__(
        self,
        *,
        transport: Transport,
        policy: InwardPolicy,
        timings: Timings,
        kept: FetchedFiles,
        cancel: Cancel,
        access: SshAccess | None = None,
    ) -> None:
        self._access = access
        self._transport = transport
        self._policy = policy
        self._timings = timings
        self._kept = kept
        self._cancel = cancel

    def resolve(self, url: GitUrl) -> Resolved:
        """The commit that a URL means now; one that is named in full is not asked for.

        Raises GitError, NotImplemented for a transport that is not offered.
        """
        if is_commit(url.ref):
            check_commit(url.ref, url.ref, url.checksum)
            return Resolved(commit=url.ref, object_id=url.ref)
        with self._connected(url.remote, url.authorization) as remote:
            return resolve_ref(remote.refs(candidates(url.ref)), url.ref, url.checksum)

    def checkout(self, url: GitUrl, resolved: Resolved, *, keeps_git_dir: bool) -> BinaryIO:
        """The tar of a commit's files, the caller's to close. Raises GitError, DiskFull."""
        keeps_git_dir = keeps_git_dir and not url.subdir
        key = checkout_key(url, resolved, keeps_git_dir=keeps_git_dir)
        kept = self._kept.open(key)
        if kept is not None:
            return kept
        wanted = Wanted(
            remote=url.remote,
            authorization=url.authorization,
            resolved=resolved,
            subdir=url.subdir,
            keeps_git_dir=keeps_git_dir,
            submodules=url.submodules is not False,
        )
        with saying(f"fetch {redacted(url.remote)[:256]}"):
            file = self._kept.new()
            try:
                checkout = Checkout(
                    self, file.write, room=self._kept.room(), new_file=self._kept.new, check=self._cancel.check
                )
                checkout.write(wanted)
                self._kept.keep(key, file)
                file.seek(0)
            except BaseException:
                file.close()
                raise
        return file

    def objects(self, remote: str, authorization: str, object_id: str) -> Objects:
        """The objects of a commit, the caller's to close: without its history where the server can leave that out."""
        with self._kept.new() as pack:
            try:
                hash_name = self._fetch(remote, authorization, object_id, pack, shallow=True)
            except NotOurRef:
                pack.seek(0)
                pack.truncate()
                hash_name = self._fetch(remote, authorization, object_id, pack, shallow=False)
            pack.flush()
            objects = Objects(self._kept.new(), hash_name, room=self._kept.room(), check=self._cancel.check)
            try:
                unpack(pack, objects)
            except BaseException:
                objects.close()
                raise
        return objects

    def _fetch(self, remote: str, authorization: str, object_id: str, pack: BinaryIO, *, shallow: bool) -> str:
        """Write the pack; returns how the repository names objects."""
        write = _bounded(pack, self._kept.room())
        with self._connected(remote, authorization) as server:
            if len(object_id) != 2 * ID_BYTES[server.hash_name]:
                raise GitError(f"{object_id} is no {server.hash_name} id, as the repository has them")
            wanted = [object_id]
            if not shallow:
                wanted = list(dict.fromkeys(server.refs(_EVERYTHING).ids.values()))
                if not wanted:
                    raise GitError("the repository has no branches")
            server.fetch(wanted, write, shallow=shallow)
            return server.hash_name

    @contextmanager
    def _connected(self, remote: str, authorization: str) -> Iterator[Remote]:
        """The server of a repository; errors name it."""
        try:
            with self._exchange(remote, authorization) as exchange:
                yield connect(exchange)
        except NotOurRef:
            raise
        except GitError as error:
            if error.message.startswith("failed to fetch"):
                raise
            raise GitError(f"failed to fetch remote {remote}: {error.message}", hint=error.hint) from error
        except RegistryError as error:
            raise GitError(f"failed to fetch remote {remote}: {error.message}", hint=error.hint) from error

    def _exchange(self, remote: str, authorization: str) -> Exchange:
        scheme = remote.partition("://")[0]
        if scheme in ("http", "https"):
            return HttpExchange(self._transport, remote, authorization, self._cancel)
        if scheme == "git":
            return TcpExchange(self._policy, remote, self._timings, self._cancel)
        if is_ssh(remote):
            from corten.build.git.ssh import SshExchange

            return SshExchange(self._access, self._policy, remote, self._timings, self._cancel)
        raise NotOffered(f"git over {scheme} is not supported by this engine: {redacted(remote)[:256]}")


def checkout_key(url: GitUrl, resolved: Resolved, *, keeps_git_dir: bool) -> str:
    """What a checkout is kept under; without a `.git` the ref that led to the commit does not count."""
    parts = [_FORM, url.remote, resolved.commit, url.subdir, str(url.submodules is not False)]
    parts += [resolved.ref, resolved.object_id] if keeps_git_dir else []
    return "git-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _bounded(file: BinaryIO, room: int) -> Callable[[bytes], object]:
    left = room

    def write(data: bytes) -> None:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise GitError(f"the repository is larger than the {room} bytes that the disk has to spare")
        file.write(data)

    return write
