"""What a git URL of a Dockerfile or a client means: the repository, the ref, the directory. Pure; daemon.

The forms are BuildKit's: `https://host/x.git`, `http://`, `git://`, and `ssh://` and `user@host:path`, whose parts are
ssh_target.py's, each with `#ref:directory` or with a query (`?ref=`, `branch`, `tag`, `commit` or `checksum`, `subdir`,
`submodules`, `keep-git-dir`); as a build context also `github.com/owner/name`. Nothing of it is ever an argument of a
program here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from corten.build.git.ssh_target import is_ssh
from corten.build.location import redacted, without_credentials

_SCHEMES = ("http", "https", "git", "ssh")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP = re.compile(r"(?:[A-Za-z0-9_.-]+@)[A-Za-z0-9_.-]+:(?!/{2})[^\s]+\Z")
_HUB = "github.com/"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_FLAGS = ("keep-git-dir", "submodules")
_TEXTS = {
    "ref": ("ref", ""), "tag": ("ref", "refs/tags/"), "branch": ("ref", "refs/heads/"), "subdir": ("subdir", ""),
    "checksum": ("checksum", ""), "commit": ("checksum", ""),
}  # fmt: skip
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_PART_OF_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|\A[-/]|/\Z|\.\Z|//")
_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class GitUrl:
    """`remote` is the repository's URL without credentials, which are in `authorization`; `None` is not said.

    `ref` is empty for the default branch; `subdir` has no slash at either end.
    """

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    authorization: str = field(default="", repr=False)

    @property
    def scheme(self) -> str:
        """http, https, git or ssh."""
        return "ssh" if is_ssh(self.remote) else self.remote.partition("://")[0]

    @property
    def shown(self) -> str:
        """For people."""
        return shown(self.remote, self.ref, self.subdir)


def parse_git_url(text: str, *, is_context: bool = False) -> GitUrl | None:
    """The repository that `text` names, or None when it names none; `is_context` takes `github.com/...`, too.

    Raises ValueError for a repository's URL with parts that cannot be.
    """
    if is_context and text.startswith(_HUB):
        return _from_url(f"https://{text}", is_suffixed=False)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _from_scp(text) if _SCP.match(text) and not text.startswith(("./", "../")) else None
    if scheme[1].lower() not in _SCHEMES:
        return None
    return _from_url(text, is_suffixed=scheme[1].lower() in ("http", "https"))


def shown(remote: str, ref: str, subdir: str) -> str:
    """A repository for people, with `#ref:directory`."""
    tail = f"{ref}:{subdir}" if subdir else ref
    return f"{remote}#{tail}" if tail else remote


def is_commit(ref: str) -> bool:
    """Whether it is the whole id of a commit, which needs no asking for."""
    return bool(_COMMIT.match(ref))


def is_ref(name: str) -> bool:
    """Whether a ref may be called so: git's rules (git-check-ref-format(1)), and what can be shown."""
    return bool(name) and not _NO_REF.search(name) and name.isprintable()


def check_checksum(checksum: str) -> None:
    """Raise ValueError for what is no commit nor the beginning of one."""
    if not _PART_OF_COMMIT.match(checksum):
        raise ValueError(f"invalid git checksum {checksum}: a commit or the beginning of one is expected")


def _from_url(text: str, *, is_suffixed: bool) -> GitUrl | None:
    try:
        parts = urlsplit(text)
        _checked = parts.port
    except ValueError as error:
        if is_suffixed:
            return None  # who takes it for a file's will say what is wrong
        raise ValueError(f"invalid git URL {redacted(text)[:256]}: {error}") from error
    if is_suffixed and not unquote(parts.path).endswith(".git"):
        return None
    bare = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path, "", ""))
    if len(text) > _LIMIT or not parts.hostname:
        raise ValueError(f"invalid git URL {redacted(text)[:256]}")
    remote, authorization = without_credentials(bare)
    if parts.scheme.lower() == "ssh":
        if parts.password is not None:
            raise ValueError(f"invalid git URL {redacted(text)[:256]}: git over ssh takes no password")
        remote, authorization = bare, ""
    ref, _, subdir = unquote(parts.fragment).partition(":")
    found = GitUrl(remote=remote, ref=ref, subdir=subdir, authorization=authorization)
    return _checked_parts(_with_query(found, parts.query))


def _from_scp(text: str) -> GitUrl:
    remote, _, fragment = text.partition("#")
    remote, _, query = remote.partition("?")
    ref, _, subdir = fragment.partition(":")
    found = GitUrl(remote=remote, ref=ref, subdir=subdir)
    return _checked_parts(_with_query(found, query))


def _with_query(url: GitUrl, query: str) -> GitUrl:
    """What the query says, beside the fragment. Raises ValueError where they differ."""
    given: dict[str, str] = {}
    for key, values in parse_qs(query, keep_blank_values=True).items():
        if key not in (*_FLAGS, *_TEXTS):
            raise ValueError(f'unexpected query "{key}"')
        if len(values) > 1:
            raise ValueError(f'query "{key}" has multiple values')
        if not values[0] and key not in _FLAGS:
            raise ValueError(f'query "{key}" has no value')
        given[key] = values[0]
    if "tag" in given and "branch" in given:
        raise ValueError("branch conflicts with tag")
    flags = {key.replace("-", "_"): _flag(key, given[key]) for key in _FLAGS if key in given}
    texts = {"ref": url.ref, "subdir": url.subdir, "checksum": ""}
    for key, (name, prefix) in _TEXTS.items():
        if key in given:
            texts[name] = _same(name, texts[name], prefix + given[key].removeprefix(prefix))
    return replace(url, **texts, **flags)  # type: ignore[arg-type]


def _same(what: str, old: str, new: str) -> str:
    if old and old != new:
        raise ValueError(f'{what} conflicts: "{old}" vs "{new}"')
    return new


def _flag(key: str, value: str) -> bool:
    if value in _FALSE:
        return False
    if value and value not in _TRUE:
        raise ValueError(f'invalid {key} value: "{value}"')
    return True


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _checked_parts(url: GitUrl) -> GitUrl:
    if url.ref and not is_ref(url.ref):
        raise ValueError(f"invalid git ref {url.ref[:256]!r}")
    if any(char.isspace() or not char.isprintable() for char in url.remote):
        raise ValueError(f"invalid git URL {redacted(url.remote)[:256]!r}")
    if url.checksum:
        check_checksum(url.checksum)
    names = [name for name in url.subdir.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in url.subdir or not _is_text(url.subdir):
        raise ValueError(f"invalid directory {url.subdir[:256]!r} of a git repository")
    return replace(url, subdir="/".join(names), ref=url.ref or url.checksum)
