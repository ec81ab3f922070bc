"""Files of results, for clients that look into them (the gateway's ReadFile, ReadDir, StatFile). Loop, threads.

Links are followed inside the result only, as everywhere (trees/). What is asked for is bounded by what a message holds;
what lies before it in a file is not, so that a look ends with its caller.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from corten.build.buildkit.jobs import BuildJob
from corten.build.filesystem import FileSystem
from corten.build.ops.store import Snapshots
from corten.build.session.packet import encode_stat
from corten.build.session.sender import stat_of
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import EmptyTree, Node, Tree, component_pattern, join, resolve
from corten.engine.images.progress import Progress, run_cancellable
from corten.lib.grpc.status import Code, GrpcError

_LIMIT = 15 << 20  # bytes of a message
_ENTRIES = 50_000
T = TypeVar("T")


class ResultFiles:
    """One a daemon."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def read(self, job: BuildJob, ref: str, path: str, part: tuple[int, int] | None) -> bytes:
        """A file's bytes, or those of a part (offset, length). Raises GrpcError."""

        def read(tree: Tree) -> bytes:
            real, node = _found(tree, path)
            if node.kind != "file":
                code = errno.EISDIR if node.kind == "directory" else errno.EINVAL
                raise OSError(code, os.strerror(code))
            offset, length = part if part is not None else (0, node.size)
            if offset < 0 or length < 0 or min(length, max(0, node.size - offset)) > _LIMIT:
                raise GrpcError(Code.RESOURCE_EXHAUSTED, f"{path[:200]}: {_LIMIT} bytes may be read at once")
            assert isinstance(tree, MountedTree)  # an empty one has no files
            return tree.part(real, offset, min(length, max(0, node.size - offset)))

        return await self._look(job, ref, path, read)

    async def list(self, job: BuildJob, ref: str, path: str, pattern: str) -> list[bytes]:
        """What a directory holds, as far as names have a form. Raises GrpcError, InvalidArgument."""
        form = component_pattern(pattern) if pattern else None

        def entries(tree: Tree) -> list[bytes]:
            real, node = _found(tree, path)
            if node.kind != "directory":
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            names = [name for name in tree.names(real) if form is None or form.fullmatch(name)]
            if len(names) > _ENTRIES:
                raise GrpcError(Code.RESOURCE_EXHAUSTED, f"{path[:200]}: {len(names)} entries are too many")
            told: list[bytes] = []
            size = 0
            for name in names:
                entry = tree.lstat(join(real, name))
                if entry is not None:
                    told.append(_packed(tree, join(real, name), name, entry))
                    size += len(told[-1])  # extended attributes have 64 KiB each
                if size > _LIMIT:
                    raise GrpcError(Code.RESOURCE_EXHAUSTED, f"{path[:200]}: its entries are more than {_LIMIT} bytes")
            return told

        return await self._look(job, ref, path, entries)

    async def stat(self, job: BuildJob, ref: str, path: str) -> bytes:
        """What a file is. Raises GrpcError."""

        def told(tree: Tree) -> bytes:
            real, node = _found(tree, path)
            return _packed(tree, real, os.path.basename(real), node)

        return await self._look(job, ref, path, told)

    async def _look(self, job: BuildJob, ref: str, path: str, look: Callable[[Tree], T]) -> T:
        if "\0" in path:
            raise GrpcError(Code.INVALID_ARGUMENT, f"{path[:200]!r}: no path has a zero byte")
        filesystem = await self._filesystem(job, ref)
        progress = Progress()

        def work() -> T:
            if not filesystem.layers:
                return look(EmptyTree())
            tree = MountedTree(self._snapshots.image_fd(filesystem.chain_id), check=progress.cancel.check)
            try:
                return look(tree)
            finally:
                tree.close()

        try:
            return await run_cancellable(progress, "build", work)
        except FileNotFoundError as error:
            raise GrpcError(Code.NOT_FOUND, f"{path[:200]}: no such file or directory") from error
        except OSError as error:
            raise GrpcError(Code.UNKNOWN, f"{path[:200]}: {(error.strerror or str(error)).lower()}") from error

    @staticmethod
    async def _filesystem(job: BuildJob, ref: str) -> FileSystem:
        """That of a result, which is here then."""
        name, _, platform = ref.partition("/")
        solving = job.solves.get(name)
        solved = solving.result[1] if solving is not None and solving.result is not None else None
        for one in solved.platforms if solved is not None else ():
            if str(one.built.image.platform) == platform and solved is not None:
                await solved.have(one.built.filesystem)
                return one.built.filesystem
        raise GrpcError(Code.NOT_FOUND, f"no such ref: {ref[:64]}")


def _found(tree: Tree, path: str) -> tuple[str, Node]:
    """A path without links, and what is there. Raises OSError."""
    real = resolve(tree, path)
    node = tree.lstat(real)
    if node is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return real, node


def _packed(tree: Tree, real: str, name: str, node: Node) -> bytes:
    return encode_stat(stat_of(tree, real, node, b"")._replace(path=os.fsencode(name)))
