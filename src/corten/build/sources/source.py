"""What a build is made of: its Dockerfile and its contexts, whoever brings them. Daemon's loop; disk threads.

A source gives the Dockerfile first, and each context when the plan tells what is taken of it: one that fetches need
not fetch the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from corten.build.attestations.material import Material
from corten.build.dockerfile.dockerignore import Matcher, parse_ignore
from corten.build.trees.tree import Tree, resolve
from corten.errors import InvalidArgument
from corten.spec.docker.lint import SourceFile

DOCKERFILE_LIMIT = 4 << 20
_DEFAULT_NAME = "Dockerfile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A Dockerfile, and what its .dockerignore keeps out of the build context; `materials` are where a context came
    from that has an address and a digest (a git commit, a URL), the build context's first."""

    source: SourceFile
    ignored: Matcher | None = None
    materials: tuple[Material, ...] = ()


class BuildSource(Protocol):
    """The files of one build. Both raise InvalidArgument, NotFound, OSError."""

    async def recipe(self) -> Recipe:
        """The Dockerfile."""

    async def context(self, name: str, paths: Sequence[str]) -> Tree:
        """A context without what is ignored: the build context (`name` is empty) or a named one.

        `paths` are what is taken of it, with wildcards; links on the way have to be followed by the source.
        """


def recipe_in(tree: Tree, dockerfile: str) -> Recipe:
    """The Dockerfile called `dockerfile`, or the usual name, in the context. Blocking. Raises InvalidArgument."""
    name = dockerfile or _DEFAULT_NAME
    text = text_in(tree, name)
    if text is None and name == _DEFAULT_NAME:
        text = text_in(tree, _DEFAULT_NAME.lower())
    if text is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {name}")
    return Recipe(source=SourceFile(filename=name, data=text), ignored=ignored_in(tree, name))


def ignored_in(tree: Tree, dockerfile: str) -> Matcher | None:
    """What the .dockerignore that is for this Dockerfile keeps out. Blocking. Raises InvalidArgument."""
    patterns = text_in(tree, f"{dockerfile}.dockerignore")
    if patterns is None:
        patterns = text_in(tree, ".dockerignore")
    return None if patterns is None else Matcher(parse_ignore(patterns))


def text_in(tree: Tree, path: str) -> bytes | None:
    """What a file holds; None when there is none. Blocking. Raises InvalidArgument for one that is too large."""
    try:
        real = resolve(tree, path)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from error
    node = tree.lstat(real)
    if node is None or node.kind != "file":
        return None
    if node.size > DOCKERFILE_LIMIT:
        raise InvalidArgument(f"{path} has {node.size} bytes, more than the limit of {DOCKERFILE_LIMIT}")
    return b"".join(tree.chunks(real))
