"""A build context that is somewhere else: a commit of a git repository, an archive or a Dockerfile on a web server.

Fetched by the daemon, by the policy and bounds of all that builds fetch. Daemon's loop; net and disk threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

from corten.build.attestations.material import Material, git_material
from corten.build.face import Offers
from corten.build.fetching import Fetching, web_url
from corten.build.git.secrets import authorized
from corten.build.git.url import GitUrl, parse_git_url
from corten.build.location import is_web_url, redacted
from corten.build.sources.source import DOCKERFILE_LIMIT, BuildSource, Recipe, ignored_in, recipe_in
from corten.build.trees.inline import InlineTree
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import Tree
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.settled import released
from corten.engine.images.spool import Spool
from corten.errors import Forbidden, InvalidArgument
from corten.lib.tar import InvalidTar, TarReader
from corten.spec.digest import hex_of
from corten.spec.docker.lint import SourceFile

_DOCKERFILE = "Dockerfile"
_START = 1024
_KEEP_GIT_DIR = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


def is_remote(location: str) -> bool:
    """Whether a build context is named by an address, and not by a directory. Raises InvalidArgument for a git URL
    with wrong parts."""
    return is_web_url(location) or git_url(location) is not None


def keeps_git_dir(build_args: Mapping[str, str | None]) -> bool:
    """Whether the build arguments ask for the `.git` directory of the context."""
    return build_args.get(_KEEP_GIT_DIR) in _TRUE


def git_url(location: str) -> GitUrl | None:
    """The repository that a build context is, if it is one. Raises InvalidArgument."""
    try:
        return parse_git_url(location, is_context=True)
    except ValueError as error:
        raise InvalidArgument(redacted(str(error))) from error


class RemoteSource:
    """The source of one build at `location`; `dockerfile` is the name in it, empty for the usual one. To be closed.

    `limited` builds have an egress list, which the daemon does not go around. `keeps_git_dir` is what the client says
    where the URL does not. What the client sends besides: `text` is a Dockerfile instead of the one in the context,
    `others` has the named contexts.
    """

    def __init__(
        self,
        location: str,
        dockerfile: str,
        *,
        fetching: Fetching,
        spool: Spool,
        progress: Progress,
        offers: Offers,
        limited: bool = False,
        keeps_git_dir: bool = False,
        text: bytes | None = None,
        others: BuildSource | None = None,
    ) -> None:
        if limited:
            raise Forbidden("the build has an egress list, which a context that the engine fetches would get past")
        self._location = location
        self._dockerfile = dockerfile
        self._fetching = fetching
        self._spool = spool
        self._progress = progress
        self._offers = offers
        self._keeps_git_dir = keeps_git_dir
        self._given = text
        self._others = others
        self._file: BinaryIO | None = None
        self._tree: Tree | None = None

    async def close(self) -> None:
        """Close what was fetched, which frees what it has on disk."""
        if self._file is not None:
            await released(self._file.close)

    async def recipe(self) -> Recipe:
        """Fetch it; the Dockerfile in it. Raises InvalidArgument, GitError, RegistryError, InwardRefused, OSError."""
        git = git_url(self._location)
        if git is not None:
            git = await authorized(git, self._offers)
            resolved = await self._fetching.commit(git, self._progress)
            keeps = self._keeps_git_dir if git.keep_git_dir is None else git.keep_git_dir
            self._file = await self._fetching.checkout(git, resolved, self._progress, keeps_git_dir=keeps)
            material = git_material(git.shown, resolved.commit)
        elif is_web_url(self._location):
            url = web_url(self._location)
            raw, seen = await self._fetching.kept_download(url, self._progress)
            self._file = await self._spool.plain(raw, self._progress)
            material = Material(uri=url.url, digest={"sha256": hex_of(seen.digest)})
        else:
            raise InvalidArgument(f"unsupported build context {redacted(self._location)[:256]!r}")
        recipe = await run_cancellable(self._progress, "disk", self._read, self._file)
        return replace(recipe, materials=(material,))

    async def context(self, name: str, paths: Sequence[str]) -> Tree:
        """All of it, or a named context that the client sends. Raises InvalidArgument for another name."""
        if name and self._others is not None:
            return await self._others.context(name, paths)
        if name or self._tree is None:
            raise InvalidArgument(f"the client does not send a context named {name!r}")
        return self._tree

    def _read(self, file: BinaryIO) -> Recipe:
        text = _text(file)
        if text is not None:
            self._tree = InlineTree([(_DOCKERFILE, text)], 0o644, 0)
            return Recipe(source=SourceFile(filename=_DOCKERFILE, data=text))
        tree = TarTree(file, check=self._progress.cancel.check)
        if self._given is None:
            recipe = recipe_in(tree, self._dockerfile)
        else:
            source = SourceFile(filename=_DOCKERFILE, data=self._given)
            recipe = Recipe(source=source, ignored=ignored_in(tree, _DOCKERFILE))
        if recipe.ignored is not None:
            tree.without(recipe.ignored.ignores)
        self._tree = tree
        return recipe


def _text(file: BinaryIO) -> bytes | None:
    """A file that is no archive, as a Dockerfile; None for an archive. Raises InvalidArgument for one too large."""
    file.seek(0)
    try:
        if next(iter(TarReader(file)), None) is not None:
            return None
    except InvalidTar:
        pass
    file.seek(0)
    text = file.read(DOCKERFILE_LIMIT + 1)
    if len(text) > DOCKERFILE_LIMIT or b"\0" in text[:_START]:
        raise InvalidArgument("the build context is neither an archive nor a Dockerfile")
    return text
