"""ADD: like COPY, and it also fetches from the web and from git, and unpacks archives. Pure; daemon."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import unquote, urlsplit

from corten.build.dockerfile.contexts import git_checkout
from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, Places
from corten.build.dockerfile.instructions import sources
from corten.build.dockerfile.instructions.copy import copied
from corten.build.dockerfile.instructions.sources import Transfer
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.git.url import check_checksum, parse_git_url
from corten.build.graph import Vertex
from corten.build.location import is_web_url, redacted, without_credentials
from corten.build.operations import Download, GitCheckout, InlineFiles, Source

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Instruction):
    """`checksum` is `sha256:<hex>` of a download or the commit of a git source; `unpack` is None where it says nothing:
    then local archives are unpacked, and downloads are not."""

    keyword = "ADD"
    transfer: Transfer
    checksum: str = ""
    keeps_git_dir: bool | None = None
    unpack: bool | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`[options] source... destination`, or the same as a JSON array."""
        flags = Flags(
            node,
            texts=(*sources.TEXTS, "checksum"),
            switches=(*sources.SWITCHES, "keep-git-dir", "unpack"),
            lists=sources.LISTS,
        )
        return cls(
            node=node,
            transfer=sources.parse_transfer(node, flags),
            checksum=flags.text("checksum"),
            keeps_git_dir=flags.switch("keep-git-dir") if flags.has("keep-git-dir") else None,
            unpack=flags.switch("unpack") if flags.has("unpack") else None,
        )

    def expand(self, expansion: Expansion) -> Self:
        """Sources, destination, options and checksum have variables."""
        return replace(
            self,
            transfer=sources.expanded_transfer(self.transfer, expansion),
            checksum=expansion.word(self.checksum),
        )

    def apply(self, state: StageState) -> StageState:
        """The configuration stays; a checksum or a URL that cannot be one is refused."""
        if self.checksum:
            self._check_checksum()
        for path in self.transfer.paths:
            if self._git(path) is None and is_web_url(path):
                file_name(path)
                _download(path)
        return state

    def _git(self, path: str) -> GitCheckout | None:
        """The repository that a source is. Raises ValueError."""
        return git_checkout(path, keep_git_dir=self.keeps_git_dir, checksum=self.checksum)

    def _check_checksum(self) -> None:
        if len(self.transfer.sources) != 1:
            raise ValueError("checksum can't be specified for multiple sources")
        source = self.transfer.sources[0]
        if isinstance(source, str) and parse_git_url(source) is not None:
            check_checksum(self.checksum)
            return
        if not _SHA256.match(self.checksum):
            is_short = self.checksum.startswith("sha256:")
            raise ValueError("invalid checksum digest length" if is_short else "invalid checksum digest format")
        if not isinstance(source, str) or not is_web_url(source):
            raise ValueError("checksum requires HTTP(S) or Git sources")

    def created_by(self, state: StageState) -> str:
        """`ADD --chown=1 a /b # buildkit`."""
        checksum = [f"--checksum={self.checksum}"] if self.checksum else []
        words = sources.history_words(self.transfer)
        at = sum(word.startswith(("--chown=", "--chmod=")) for word in words[:2])
        return redacted(" ".join([self.keyword, *words[:at], *checksum, *words[at:], "# buildkit"]))

    def lower(self, root: Vertex, state: StageState, places: Places) -> Vertex:
        """Sources in their order, each kind from an input of its own; the local ones share the build context."""
        inputs, found = [root], []
        context = 0
        for path in self.transfer.paths:
            if (checkout := self._git(path)) is not None:
                inputs.append(self._vertex(checkout))
                found.append(Source(input=len(inputs) - 1, path="."))
            elif is_web_url(path):
                inputs.append(self._vertex(_download(path, self.checksum)))
                found.append(Source(input=len(inputs) - 1, path=file_name(path), unpack=bool(self.unpack)))
            else:
                if not context:
                    inputs.append(places.find(""))
                    context = len(inputs) - 1
                found.append(Source(input=context, path=path, unpack=self.unpack is not False))
        if self.transfer.files:
            inputs.append(self._vertex(InlineFiles(files=self.transfer.files)))
            found += [Source(input=len(inputs) - 1, path=name) for name, _content in self.transfer.files]
        return copied(self, self.transfer, found, inputs, state)

    def _vertex(self, operation: Download | GitCheckout | InlineFiles) -> Vertex:
        return Vertex(operation, name=redacted(self.node.text), lines=self.node.lines)


def is_local(source: str) -> bool:
    """Whether a source is in the build context, and not fetched."""
    try:
        return not is_web_url(source) and parse_git_url(source) is None
    except ValueError:
        return False


def _download(url: str, checksum: str = "") -> Download:
    """The operation for a URL. Raises ValueError."""
    try:
        clean, authorization = without_credentials(url)
    except ValueError as error:
        raise ValueError(f"invalid URL {redacted(url)}: {error}") from error
    return Download(url=clean, checksum=checksum, authorization=authorization)


def file_name(url: str) -> str:
    """What a downloaded file is called: the last part of the URL's path, `download` when that can be no file's name.

    Raises ValueError for what is no URL, or has a zero byte in its name.
    """
    try:
        path = unquote(urlsplit(url).path)
    except ValueError as error:
        raise ValueError(f"invalid URL {redacted(url)}: {error}") from error
    name = posixpath.basename(path.rstrip("/"))
    if "\0" in name:
        raise ValueError(f"invalid URL {redacted(url)}: a file's name has no zero bytes")
    return "download" if name in ("", ".", "..") else name
