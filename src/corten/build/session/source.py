"""The files of a build whose client has a session: it sends what is asked for, when it is. Daemon's loop; threads.

The Dockerfile comes first, then the .dockerignore, then of each context what the plan takes of it and has changed since
the client sent it last. A tar on the client's standard input is read as a whole.
Source: BuildKit's Dockerfile frontend (dockerui) and local source.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from corten.build.dockerfile.dockerignore import Matcher, parse_ignore
from corten.build.session.client import BytesMessage, Client
from corten.build.session.contexts import Kept, KeptContexts
from corten.build.session.filters import followed, headers
from corten.build.session.listing import Entry
from corten.build.session.receiver import Receiver
from corten.build.session.tree import ReceivedTree
from corten.build.sources.source import Recipe, text_in
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import Tree
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.settled import never_half_done
from corten.engine.images.spool import Spool
from corten.errors import InvalidArgument, NotFound
from corten.lib import blocking
from corten.lib.protobuf.wire import decode
from corten.spec.docker.lint import SourceFile

_DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
_PULL = "/moby.upload.v1.Upload/Pull"
_IGNORE_FILE = ".dockerignore"
_USUAL_NAME = "Dockerfile"
UPLOADED = "http://buildkit-session/"  # what a context that comes as a tar begins with
_ASKED_LIMIT = 8 << 20  # bytes of a Dockerfile or a .dockerignore that are looked at, so that its size can be told of


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFiles:
    """What the client calls its directories. `upload` is the URL of a tar on its standard input, `locals` has the
    directory of each named context."""

    filename: str = _USUAL_NAME
    dockerfile_dir: str = "dockerfile"
    context_dir: str = "context"
    upload: str = ""
    locals: Mapping[str, str] = field(default_factory=dict)


def _nobody(_what: str, _bytes: int) -> None:
    """Tell nobody."""


class SessionSource:
    """The source of one build; to be closed when it is over. `told` hears what is being transferred (`dockerfile`,
    `.dockerignore`, or the directory) and how many bytes of it have come."""

    def __init__(
        self,
        client: Client,
        files: SessionFiles,
        *,
        contexts: KeptContexts,
        spool: Spool,
        progress: Progress,
        told: Callable[[str, int], None] = _nobody,
    ) -> None:
        self._client = client
        self._files = files
        self._contexts = contexts
        self._spool = spool
        self._progress = progress
        self._told = told
        self._trees: list[ReceivedTree | TarTree] = []
        self._tar: TarTree | None = None
        self._patterns: tuple[str, ...] = ()

    @never_half_done
    async def close(self) -> None:
        """Let the trees go, however often the build is cancelled."""
        for tree in self._trees:
            await blocking.run(tree.close)
        self._trees.clear()

    async def recipe(self) -> Recipe:
        """The Dockerfile. Raises InvalidArgument, NotFound, GrpcError, OSError."""
        name = self._files.filename
        if self._files.upload:
            self._tar = tree = await self._uploaded()
            text = await blocking.run(_dockerfile, tree, name)
            patterns = await blocking.run(_ignored, tree, name)
            if patterns is None:
                patterns = await blocking.run(text_in, tree, _IGNORE_FILE)
        else:
            received = await self._asked(self._files.dockerfile_dir, _names(name), "dockerfile")
            text = await blocking.run(_dockerfile, received, name)
            patterns = await blocking.run(_ignored, received, name)
            if patterns is None:
                patterns = await self._ignore_file(self._files.context_dir)
        self._patterns = () if patterns is None else parse_ignore(patterns)
        ignored = None if patterns is None else await blocking.run(Matcher, self._patterns)
        if ignored is not None and self._tar is not None:
            await run_cancellable(self._progress, "disk", self._tar.without, ignored.ignores)
        return Recipe(source=SourceFile(filename=name, data=text), ignored=ignored)

    async def dockerfile(self) -> bytes:
        """The Dockerfile alone, for a context that the client has not. Raises as `recipe`."""
        name = self._files.filename
        received = await self._asked(self._files.dockerfile_dir, _names(name), "dockerfile")
        return await blocking.run(_dockerfile, received, name)

    async def context(self, name: str, paths: Sequence[str]) -> Tree:
        """A context, of which the client is asked only for what has changed. Raises as `recipe`."""
        if name == "" and self._tar is not None:
            return self._tar
        directory = self._files.locals.get(name) if name else self._files.context_dir
        if directory is None:
            raise InvalidArgument(f"the client does not send a context named {name!r}")
        patterns = self._patterns
        if name:
            text = await self._ignore_file(directory)
            patterns = () if text is None else parse_ignore(text)
        asked = headers(directory, excludes=patterns, paths=followed(paths))
        key = self._client.shared_key
        if not key:
            return self._tree(await self._transfer(await self._contexts.scratch(), asked, directory))
        async with self._contexts.hold(f"{directory}:{key}", f"local source for {directory}") as kept:
            return self._tree(await self._transfer(kept, asked, directory))

    async def _ignore_file(self, directory: str) -> bytes | None:
        tree = await self._asked(directory, [_IGNORE_FILE], _IGNORE_FILE)
        return await blocking.run(text_in, tree, _IGNORE_FILE)

    async def _asked(self, directory: str, names: Sequence[str], what: str) -> Tree:
        """A few small files of a directory, which are not kept."""
        asked = headers(directory, paths=names)
        return self._tree(await self._transfer(await self._contexts.scratch(), asked, what, limit=_ASKED_LIMIT))

    async def _transfer(
        self, kept: Kept, asked: Sequence[tuple[str, str]], what: str, *, limit: int | None = None
    ) -> ReceivedTree:
        """Ask, receive, and keep what is to be kept."""
        try:
            files = (*(entry for _, entry in kept.known.idle), *kept.known.entries)
            known = {entry.raw: entry for entry in files if entry.raw}
            async with self._client.stream(_DIFF_COPY, asked) as stream:
                receiver = Receiver(
                    stream,
                    kept.new,
                    known=known,
                    wants=lambda entry: limit is None or entry.size <= limit,
                    told=lambda count: self._told(what, count),
                )
                entries = await receiver.receive()
            if kept.id:
                is_changed = not _same(entries, kept.known.entries)
                entries = await self._contexts.save(kept, entries, is_changed=is_changed)
            packs = {**kept.packs, kept.new.name: kept.new}
            return await blocking.run(ReceivedTree, entries, packs, check=self._progress.cancel.check)
        except BaseException:
            kept.close()
            raise

    def _tree(self, tree: ReceivedTree) -> ReceivedTree:
        self._trees.append(tree)
        return tree

    async def _uploaded(self) -> TarTree:
        """The tar that the client has on its standard input."""
        address = self._files.upload.removeprefix("http://")
        host, _, path = address.partition("/")
        async with self._client.stream(_PULL, [("urlpath", f"/{path}"), ("urlhost", host)]) as stream:
            await stream.end()

            async def body() -> AsyncIterator[bytes]:
                total = 0
                while (message := await stream.receive_bytes()) is not None:
                    data = decode(BytesMessage, message).data
                    total += len(data)
                    self._told("context", total)
                    yield data

            file = await self._spool.receive(body(), self._progress)
        try:
            tree = await run_cancellable(self._progress, "disk", TarTree, file, check=self._progress.cancel.check)
        except BaseException:
            file.close()
            raise
        self._trees.append(tree)
        return tree


def _same(entries: Sequence[Entry], before: Sequence[Entry]) -> bool:
    """Whether a list is the one that is kept: what was known is the same object."""
    return len(entries) == len(before) and all(new is old for new, old in zip(entries, before, strict=True))


def _names(name: str) -> list[str]:
    """What is asked for with a Dockerfile."""
    head, slash, base = name.rpartition("/")
    usual = [f"{head}{slash}{base.lower()}"] if base == _USUAL_NAME else []
    return [name, f"{name}{_IGNORE_FILE}", *usual]


def _dockerfile(tree: Tree, name: str) -> bytes:
    """Blocking. Raises NotFound in BuildKit's words."""
    asked, _, *usual = _names(name)
    for one in (asked, *usual):
        text = text_in(tree, one)
        if text is not None:
            return text
    raise NotFound(f"failed to read dockerfile: open {name}: no such file or directory")


def _ignored(tree: Tree, name: str) -> bytes | None:
    return text_in(tree, f"{name}{_IGNORE_FILE}")
