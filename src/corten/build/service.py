"""POST /build: a tar and a query become an image; and what is done with the build cache. Daemon's loop.

What is wrong with the request or the Dockerfile fails before the first message, as a status; everything later is the
stream's last message, as clients of the classic builder expect. Closing the stream cancels the build.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from corten.build.bases import Bases, Puller
from corten.build.builder import Builder, BuildInputs
from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.cache_pruning import Wish, oldest_above, rows, to_prune
from corten.build.classic_stream import ending
from corten.build.diagnosis import FailedStep, diagnosis, findings
from corten.build.dockerfile.dockerignore import Matcher, parse_ignore
from corten.build.dockerfile.error import ParseError
from corten.build.dockerfile.lower import lower
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.ops.run import RunSettings, StepFailed
from corten.build.options import BuildOptions, Output
from corten.build.outputs import Built, Outputs, send
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import resolve
from corten.engine.containers.create import egress_rules
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable, stream
from corten.engine.images.spool import Spool
from corten.errors import CortenError, InvalidArgument
from corten.lib import blocking
from corten.lib.disk_full import words
from corten.spec import reference as references
from corten.spec.docker import build as wire
from corten.spec.docker.lint import SourceFile
from corten.spec.docker.progress import ErrorDetail, ProgressMessage
from corten.spec.reference import InvalidReference, Reference
from corten.store.gc import Node
from corten.store.leases import Lease

_DOCKERFILE_LIMIT = 4 << 20
_KEPT = 256  # messages
_RECORDS_LIMIT = 5000  # some kilobytes each, of memory and of the database
_DEFAULT_NETWORK = ("", "default", "bridge")
_EPOCH = "SOURCE_DATE_EPOCH"
_EPOCH_LIMIT = 1 << 40


class BuildService:
    """Builds, and the build cache; `limit_bytes` is what the cache may hold after a build."""

    def __init__(
        self,
        *,
        builder: Builder,
        cache: BuildCache,
        caches: CacheMounts,
        library: ImageLibrary,
        puller: Puller,
        outputs: Outputs,
        spool: Spool,
        events: Events,
        limit_bytes: Callable[[], int],
    ) -> None:
        self._builder = builder
        self._cache = cache
        self._caches = caches
        self._library = library
        self._puller = puller
        self._outputs = outputs
        self._spool = spool
        self._events = events
        self._limit_bytes = limit_bytes

    def build(self, options: BuildOptions, body: AsyncIterator[bytes]) -> AsyncGenerator[ProgressMessage, None]:
        """Build what the tar `body` holds. Raises InvalidArgument at once for wrong names or arguments."""
        names = [_image_name(name) for name in options.names]
        epoch_s = _epoch(options.build_args.get(_EPOCH))
        return stream(lambda progress: self._build(options, names, epoch_s, body, progress))

    async def _build(
        self,
        options: BuildOptions,
        names: Sequence[Reference],
        epoch_s: int | None,
        body: AsyncIterator[bytes],
        progress: Progress,
    ) -> None:
        kept: deque[ProgressMessage] = deque(maxlen=_KEPT)  # of a quiet build, which tells it if it fails
        say = kept.append if options.quiet else progress.say
        file = await self._spool.receive(body, progress)
        try:
            context = await run_cancellable(progress, "disk", _read, file, options.dockerfile, progress)
            try:
                await self._solve(options, names, epoch_s, context, progress, say)
            except (CortenError, OSError) as error:
                for message in kept:
                    progress.say(message)
                if options.diagnostics:
                    progress.say(diagnosis(error, context.source))
                if isinstance(error, ParseError):
                    raise
                progress.say(_failure(error))
        finally:
            await blocking.run(file.close)  # which frees what it has on disk
            await self._trim()

    async def _solve(
        self,
        options: BuildOptions,
        names: Sequence[Reference],
        epoch_s: int | None,
        context: _Context,
        progress: Progress,
        say: Callable[[ProgressMessage], None],
    ) -> None:
        dockerfile = await blocking.run(parse_dockerfile, context.source.data)
        async with self._leased() as lease:
            bases = Bases(
                library=self._library,
                puller=self._puller,
                lease=lease,
                credentials=options.credentials,
                always_pull=options.pull,
                say=say,
            )
            plan = await lower(dockerfile, _request(options), bases, ignored=context.ignored)
            if options.diagnostics:
                progress.say(findings(plan.findings, context.source))
            if options.is_check:
                return
            inputs = BuildInputs(
                context=context.tree,
                bases=bases.filesystems,
                settings=RunSettings(host=options.host, remove=options.remove, remove_failed=options.remove_failed),
                lease=lease,
                use_cache=options.use_cache,
                epoch_s=epoch_s,
            )
            built = await self._builder.run(plan, inputs, say, progress)
            stored = await self._put_out(options.output, built, names, lease, progress)
        for name in stored:
            self._events.publish("image", "tag", built.id, {"name": name.familiar})
        for message in ending(built.id, [name.familiar for name in stored], plan.warnings, quiet=options.quiet):
            progress.say(message)

    async def _put_out(
        self, output: Output, built: Built, names: Sequence[Reference], lease: Lease, progress: Progress
    ) -> Sequence[Reference]:
        """Store the result, or send it as a tar; returns the names that an image has got here."""
        if not output:
            await self._outputs.store(built, names, lease)
            return names
        if output == "archive":
            await send(await self._outputs.archive(built, names, lease), progress)
        else:
            await send(self._outputs.files(built), progress)
        return ()

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[Lease]:
        """Keep what a build finds and makes; what nothing else keeps afterwards (a download) is deleted."""
        keys: list[str] = []
        try:
            async with self._library.lease([]) as lease:
                try:
                    yield lease
                finally:
                    keys = lease.keys
        finally:
            nodes = [Node(kind, key) for key in keys for kind in ("blob", "layer")]
            await self._library.discard([*nodes, *self._cache.take_replaced()])

    # -- the cache

    def usage(self) -> list[wire.BuildCache]:
        """The records, for `system df`."""
        return rows(self._cache.records(), self._shared())

    async def prune(self, wish: Wish) -> wire.BuildPruneReport:
        """Forget records, and delete what nothing else needs then. Raises InvalidArgument for a bad filter."""
        keys = to_prune(self._cache.records(), wish, self._shared())
        reclaimed = await self._forget(keys)
        if wish.is_whole:
            reclaimed += await self._caches.prune()
        self._events.publish("builder", "prune", "", {"reclaimed": str(reclaimed)})
        return wire.BuildPruneReport(caches_deleted=keys, space_reclaimed=reclaimed)

    async def _trim(self) -> None:
        await self._forget(oldest_above(self._cache.records(), self._limit_bytes(), _RECORDS_LIMIT))

    async def _forget(self, keys: Sequence[str]) -> int:
        """Forget records; how many bytes of layers were deleted with them."""
        records = self._cache.records()
        sizes = {chain: record.size for key in keys for record in [records[key]] for chain in record.own_chain}
        nodes: list[Node] = self._cache.forget(keys)
        gone = await self._library.discard(nodes) if nodes else []
        return sum(sizes.get(node.key, 0) for node in gone)

    def _shared(self) -> set[str]:
        return {chain_id for entry in self._library.catalog for chain_id in entry.chain}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """The files without those that .dockerignore names (`ignored`), and the Dockerfile."""

    tree: TarTree
    source: SourceFile
    ignored: Matcher | None


def _read(file: BinaryIO, dockerfile: str, progress: Progress) -> _Context:
    """What was sent. Blocking. Raises InvalidArgument."""
    tree = TarTree(file, check=progress.cancel.check)
    name = dockerfile or "Dockerfile"
    text = _text(tree, name)
    if text is None and name == "Dockerfile":
        text = _text(tree, "dockerfile")
    if text is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {name}")
    patterns = _text(tree, f"{name}.dockerignore")
    if patterns is None:
        patterns = _text(tree, ".dockerignore")
    ignored = None if patterns is None else Matcher(parse_ignore(patterns))
    if ignored is not None:
        tree.without(ignored.ignores)
    return _Context(tree=tree, source=SourceFile(filename=name, data=text), ignored=ignored)


def _text(tree: TarTree, path: str) -> bytes | None:
    try:
        real = resolve(tree, path)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from error
    node = tree.lstat(real)
    if node is None or node.kind != "file":
        return None
    if node.size > _DOCKERFILE_LIMIT:
        raise InvalidArgument(f"{path} has {node.size} bytes, more than the limit of {_DOCKERFILE_LIMIT}")
    return b"".join(tree.chunks(real))


def _request(options: BuildOptions) -> BuildRequest:
    return BuildRequest(
        build_args=dict(options.build_args),
        target=options.target,
        platform=options.platform,
        labels=dict(options.labels),
        network="" if options.host.network_mode in _DEFAULT_NETWORK else options.host.network_mode,
        hosts=tuple(options.host.extra_hosts or ()),
        egress=egress_rules(options.host),
        is_check=options.is_check,
    )


def _image_name(text: str) -> Reference:
    """A name for the image. Raises InvalidReference."""
    name = references.parse(text).with_default_tag()
    if name.digest is not None:
        raise InvalidReference("refusing to create a tag with a digest reference")
    return name


def _epoch(text: str | None) -> int | None:
    """SOURCE_DATE_EPOCH in seconds. Raises InvalidArgument."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) < _EPOCH_LIMIT):
        raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text[:32]}")
    return int(text)


def _failure(error: Exception) -> ProgressMessage:
    """The last message of a build that failed."""
    text = words(error)
    if isinstance(error, FailedStep):
        error = error.reason
    code = error.exit_code if isinstance(error, StepFailed) else 0
    return ProgressMessage(error_detail=ErrorDetail(code=code, message=text), error=text)
