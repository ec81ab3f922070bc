"""Repositories on real servers of git's own, friendly and hostile: what a checkout holds, and what it never does."""

from __future__ import annotations

import os
import socket
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.git_server import GitServer, Repository, git, git_daemon

from corten.build.fetched_files import FetchedFiles
from corten.build.git import directory
from corten.build.git.error import GitError
from corten.build.git.repositories import Repositories
from corten.build.git.url import parse_git_url
from corten.errors import Cancelled
from corten.registry.cancel import Cancel
from corten.registry.inward import InwardPolicy, InwardRefused
from corten.registry.timings import Timings
from corten.registry.transport import Transport

LOOPBACK = InwardPolicy.of(allow=["127.0.0.0/8"])


class Lab:
    """Repositories below `root`, a server for them, and a client whose files are in `kept`."""

    def __init__(self, root: Path, closing: ExitStack) -> None:
        self.root = root / "srv"
        self.root.mkdir()
        self.kept = FetchedFiles(root / "kept", lambda: 1 << 30)
        self._closing = closing
        self.server = closing.enter_context(GitServer(self.root))

    def serve(self, **options: object) -> GitServer:
        """A server of another kind."""
        self.server = self._closing.enter_context(GitServer(self.root, **options))  # type: ignore[arg-type]
        return self.server

    def repository(self, name: str = "a.git", **options: str) -> Repository:
        return Repository(self.root / name, **options)

    def client(self, policy: InwardPolicy = LOOPBACK, cancel: Cancel | None = None) -> Repositories:
        timings = Timings(connect_s=10, stall_s=20)
        return Repositories(
            transport=Transport(policy=policy, timings=timings),
            policy=policy,
            timings=timings,
            kept=self.kept,
            cancel=cancel or Cancel(),
        )

    def tar(self, suffix: str = "", *, base: str = "", client: Repositories | None = None) -> tarfile.TarFile:
        url = parse_git_url(f"{base or self.server.url}/a.git{suffix}")
        assert url is not None
        client = client or self.client()
        return tarfile.open(
            fileobj=client.checkout(url, client.resolve(url), keeps_git_dir=bool(url.keep_git_dir)), mode="r"
        )

    def names(self, suffix: str = "") -> list[str]:
        return sorted(self.tar(suffix).getnames())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with ExitStack() as closing:
        yield Lab(tmp_path, closing)


def test_a_checkout_is_what_git_would_check_out(lab: Lab):
    repository = lab.repository()
    (repository.path / "link").symlink_to("/etc/passwd")
    (repository.path / "run").write_text("#!/bin/sh\n")
    (repository.path / "run").chmod(0o755)
    repository.commit({"a": "a\n", "d/e/f": b"\0\xff", "größe": "x"})
    tar = lab.tar()
    assert sorted(tar.getnames()) == [".", "a", "d", "d/e", "d/e/f", "größe", "link", "run"]
    assert [tar.getmember(name).mode for name in ("a", "run", "d")] == [0o644, 0o755, 0o755]
    assert (tar.getmember("link").type, tar.getmember("link").linkname) == (tarfile.SYMTYPE, "/etc/passwd")
    assert tar.extractfile("d/e/f").read() == b"\0\xff"
    assert {(member.uid, member.gid, member.mtime) for member in tar} == {(0, 0, 1600000000)}


@pytest.mark.parametrize("speaks_v2", [True, False])
def test_refs_commits_and_directories_by_each_protocol(lab: Lab, speaks_v2: bool):
    repository = lab.repository()
    first = repository.commit({"one": "1", "d/x": "x"})
    repository.git("branch", "old")
    repository.git("tag", "-a", "v1", "-m", "t")
    repository.commit({"two": "2" * 5000})
    repository.commit({"two": "2" * 4999 + "3"})
    repository.git("repack", "-adq")
    lab.serve(speaks_v2=speaks_v2)
    with git_daemon(lab.root) as tcp:
        for base in (lab.server.url, tcp):
            for suffix in ("#old", "#v1", "#refs/tags/v1", f"#{first}", "?tag=v1", f"?commit={first}"):
                lab.kept.trim(0, 0)
                assert sorted(lab.tar(suffix, base=base).getnames()) == [".", "d", "d/x", "one"], (base, suffix)
            lab.kept.trim(0, 0)
            assert lab.tar(base=base).extractfile("two").read()[-2:] == b"23"
            assert lab.tar("#old:d", base=base).getnames() == [".", "x"]


def test_what_was_checked_out_once_is_not_fetched_again(lab: Lab):
    repository = lab.repository()
    first = repository.commit({"a": "1"})
    lab.tar()
    posts = lab.server.fetches()
    assert posts == 2  # the refs, and the pack
    lab.tar("#main")
    assert lab.server.fetches() == posts + 1
    lab.tar(f"#{first}")
    assert lab.server.fetches() == posts + 1
    repository.commit({"a": "2"})
    assert lab.tar().extractfile("a").read() == b"2"
    assert lab.server.fetches() == posts + 3


def test_a_server_that_lies_about_what_is_behind_a_tag_gets_nothing_kept(lab: Lab):
    """A checksum is compared with what it says, and who asks for the commit later gets what was kept."""
    repository = lab.repository()
    pinned = repository.commit({"pinned": "1"})
    repository.git("rm", "-q", "pinned")
    repository.commit({"evil": "2"})
    repository.git("tag", "-a", "v1", "-m", "t")
    url = parse_git_url(f"{lab.server.url}/a.git#v1")
    assert url is not None
    client = lab.client()
    said = replace(client.resolve(url), commit=pinned)
    with pytest.raises(GitError, match=f"says that refs/tags/v1 is {pinned}, and it is"):
        client.checkout(url, said, keeps_git_dir=False)
    assert lab.names(f"#{pinned}") == [".", "pinned"]
    assert lab.names(f"#{repository.git('rev-parse', 'v1')}") == [".", "evil"]  # a tag by its id is what it is


def test_a_server_that_gives_no_history_cut_short_is_asked_for_all_of_it(lab: Lab):
    repository = lab.repository()
    old = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    lab.serve(speaks_v2=False)
    repository.git("config", "uploadpack.allowReachableSHA1InWant", "false")
    assert lab.tar(f"#{old}").extractfile("a").read() == b"1"
    with pytest.raises(GitError, match="did not send the commit"):
        lab.tar(f"#{'1' * 40}")


def test_a_repository_of_sha256_is_checked_out(lab: Lab):
    repository = lab.repository(object_format="sha256")
    commit = repository.commit({"a": "1"})
    assert len(commit) == 64
    for suffix in ("", f"#{commit}"):
        lab.kept.trim(0, 0)
        assert lab.names(suffix) == [".", "a"]
    with pytest.raises(GitError, match="is no sha256 id"):
        lab.names(f"#{'1' * 40}")


def test_the_git_directory_is_one_that_git_takes(lab: Lab, tmp_path: Path):
    repository = lab.repository()
    repository.commit({"a": "1", "d/b": "x" * 100_000})
    repository.git("tag", "-a", "v1", "-m", "t")
    for suffix in ("?keep-git-dir", "?keep-git-dir&tag=v1"):
        out = tmp_path / f"out{len(suffix)}"
        lab.tar(suffix).extractall(out)
        assert git(out, "status", "--porcelain") == ""
        git(out, "fsck", "--strict")
        assert git(out, "rev-parse", "HEAD") == repository.git("rev-parse", "HEAD")
        assert git(out, "config", "remote.origin.url") == f"{lab.server.url}/a.git"
        assert git(out, "log", "--oneline").count("\n") == 0
    assert git(out, "describe", "--exact-match") == "v1"
    assert [path for path in (out / ".git").rglob("*") if "hook" in path.name] == []


def test_a_git_directory_and_a_checkout_are_the_same_each_time(lab: Lab):
    lab.repository().commit({"a": "1", "d/b": "2"})
    for suffix in ("", "?keep-git-dir"):
        made = []
        for _ in range(2):
            lab.kept.trim(0, 0)
            made.append(lab.tar(suffix).fileobj.read())
        assert made[0] == made[1]


def test_credentials_are_sent_and_kept_nowhere(lab: Lab, tmp_path: Path):
    repository = lab.repository()
    repository.commit({"a": "1"})
    lab.serve(user="me:s3cret")
    with pytest.raises(GitError, match="authentication failed"):
        lab.tar()
    base = lab.server.url.replace("//", "//me:s3cret@")
    assert lab.tar("?keep-git-dir", base=base).getnames()[:2] == [".", "a"]
    for path in (tmp_path / "kept").iterdir():
        assert b"s3cret" not in path.read_bytes()
        assert b"s3cret" not in path.name.encode()
    with pytest.raises(GitError) as caught:
        lab.tar("#nope", base=base)
    assert "s3cret" not in str(caught.value)


def test_submodules_are_part_of_a_checkout(lab: Lab):
    for name, files in (("deep.git", {"z": "z"}), ("sub.git", {"s": "s"})):
        lab.repository(name).commit(files)
    sub = Repository.__new__(Repository)
    sub.path = lab.root / "sub.git"
    add_submodule(sub, "../deep.git", lab.root / "deep.git", "deep")
    repository = lab.repository()
    repository.commit({"a": "1"})
    add_submodule(repository, f"{lab.server.url}/sub.git", sub.path, "lib/sub")
    assert lab.names() == [
        ".", ".gitmodules", "a", "lib", "lib/sub", "lib/sub/.gitmodules", "lib/sub/deep", "lib/sub/deep/z", "lib/sub/s",
    ]  # fmt: skip
    assert lab.names("?submodules=false") == [".", ".gitmodules", "a", "lib", "lib/sub"]
    assert lab.names("#:lib/sub/deep") == [".", "z"]


def add_submodule(repository: Repository, url: str, source: Path, path: str) -> None:
    commit = git(source, "rev-parse", "HEAD")
    text = f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
    (repository.path / ".gitmodules").write_text(text)
    repository.git("add", ".gitmodules")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    repository.git("commit", "-q", "-m", "s")


@pytest.mark.parametrize(
    "url", ["file:///etc", "/etc", "ext::sh -c id% >&2", "-u./x", "ssh://a:b@h/x", "--upload-pack=touch /x"]
)
def test_submodules_lead_to_no_other_transport(lab: Lab, url: str):
    repository = lab.repository()
    repository.commit({"a": "1"})
    add_submodule(repository, url, repository.path, "sub")
    with pytest.raises(GitError, match="only http, https, git and ssh URLs are fetched"):
        lab.names()


def test_submodules_do_not_lead_where_builds_may_not_fetch(lab: Lab):
    repository = lab.repository()
    repository.commit({"a": "1"})
    add_submodule(repository, "http://169.254.169.254/x.git", repository.path, "sub")
    with pytest.raises(InwardRefused):
        lab.names()


def test_a_repository_that_is_its_own_submodule_ends(lab: Lab):
    repository = lab.repository()
    repository.commit({"a": "1"})
    add_submodule(repository, "../a.git", repository.path, "sub")
    for _ in range(12):
        add_submodule(repository, "../a.git", repository.path, "sub")
    with pytest.raises(GitError, match="too many submodules"):
        lab.names()


def test_a_submodule_without_a_url_is_told(lab: Lab):
    repository = lab.repository()
    commit = repository.commit({"a": "1"})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    repository.git("commit", "-q", "-m", "s")
    with pytest.raises(GitError, match="no url found for submodule path 'sub'"):
        lab.names()


# -- hostile trees


@pytest.mark.parametrize(
    ("mode", "name", "reason"),
    [
        ("100644", b"..", "forbidden name"),
        ("100644", b".", "forbidden name"),
        ("100644", b".git", "forbidden name"),
        ("40000", b".git", "forbidden name"),
        ("120000", b".GIT", "forbidden name"),
        ("100644", b".gIt", "forbidden name"),
        ("100644", b"../../etc/cron.d/x", "forbidden name"),
        ("100644", b"a/b", "forbidden name"),
        ("100644", b"/etc/passwd", "forbidden name"),
        ("100644", b"x" * 256, "forbidden name"),
        ("100644", b"ok", "two files of the name"),
        ("20644", b"tty", "unknown mode"),
        ("10644", b"fifo", "unknown mode"),
        ("40000", b"notree", "remote error"),
    ],
)
def test_names_and_kinds_that_no_tree_may_have(lab: Lab, mode: str, name: bytes, reason: str):
    repository = lab.repository()
    blob = repository.blob(b"x")
    tree = repository.git("hash-object", "-t", "tree", "-w", "--stdin", data=b"")
    repository.tree(("100644", blob, b"ok"), (mode, tree if mode == "40000" and name != b"notree" else blob, name))
    lab.server.requests.clear()
    with pytest.raises(GitError, match=reason):
        lab.names()
    assert list((lab.root.parent / "kept").iterdir()) == []


def test_a_link_and_what_is_below_its_name_are_apart(lab: Lab):
    """CVE-2021-21300's kind: names that differ in case alone are two names; nothing goes through a link."""
    repository = lab.repository()
    blob, link = repository.blob(b"payload"), repository.blob(b".git/hooks")
    tree = repository.git("mktree", data=f"100755 blob {blob}\tpost-checkout\n".encode())
    repository.tree(("40000", tree, b"A"), ("120000", link, b"a"))
    tar = lab.tar()
    assert sorted(tar.getnames()) == [".", "A", "A/post-checkout", "a"]
    assert tar.getmember("a").issym()


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * 5000])
def test_links_that_no_file_system_has(lab: Lab, target: bytes):
    repository = lab.repository()
    repository.tree(("120000", repository.blob(target), b"l"))
    with pytest.raises(GitError, match="the link"):
        lab.names()


def test_gitmodules_that_is_a_link_is_not_followed(lab: Lab):
    repository = lab.repository()
    commit = repository.commit({"evil": '[submodule "s"]\n\tpath = s\n\turl = file:///etc\n'})
    repository.tree(
        ("120000", repository.blob(b"evil"), b".gitmodules"),
        ("100644", repository.git("rev-parse", f"{commit}:evil"), b"evil"),
    )
    assert lab.names() == [".", ".gitmodules", "evil"]


def test_trees_that_multiply_are_bounded(lab: Lab):
    """Ten trees, each with the next one ten times: a few kilobytes that are ten thousand million files."""
    repository = lab.repository()
    tree = repository.git("mktree", data=f"100644 blob {repository.blob(b'x')}\tf\n".encode())
    for _ in range(10):
        rows = "".join(f"040000 tree {tree}\td{number}\n" for number in range(10))
        tree = repository.git("mktree", data=rows.encode())
    commit = repository.git("commit-tree", "-m", "c", tree)
    repository.git("update-ref", "refs/heads/main", commit)
    lab.kept.room = lambda: 20 << 20  # type: ignore[method-assign]
    with pytest.raises(GitError, match="more than a build can take"):
        lab.names()
    assert list((lab.root.parent / "kept").iterdir()) == []


def test_the_index_of_paths_that_multiply_is_bounded(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    lab.repository().commit({f"{'d' * 200}/{number}": "" for number in range(50)})
    assert ".git/index" in lab.names("?keep-git-dir=1")
    lab.kept.trim(0, 0)
    monkeypatch.setattr(directory, "_PATHS_LIMIT", 50 * 200)
    with pytest.raises(GitError, match="paths are too long, or too many"):
        lab.names("?keep-git-dir=1")


def test_a_file_that_is_larger_than_the_disk_has_to_spare(lab: Lab):
    repository = lab.repository()
    repository.commit({"zeros": b"\0" * (8 << 20)})
    lab.kept.room = lambda: 1 << 20  # type: ignore[method-assign]
    with pytest.raises(GitError, match="disk has to spare"):
        lab.names()
    assert list((lab.root.parent / "kept").iterdir()) == []


# -- where it does not go, and how it ends


def test_loopback_is_refused_unless_it_is_allowed(lab: Lab):
    lab.repository().commit({"a": "1"})
    lab.server.requests.clear()
    with git_daemon(lab.root) as tcp:
        for base in (lab.server.url, lab.server.url.replace("127.0.0.1", "localhost"), tcp):
            with pytest.raises(InwardRefused):
                lab.tar(base=base, client=lab.client(InwardPolicy.of()))
    assert lab.server.requests == []


def test_ssh_without_a_client_that_offers_an_agent_is_refused(lab: Lab):
    url = parse_git_url("git@github.com:o/x.git")
    assert url is not None
    with pytest.raises(GitError, match="git over ssh is for a build's own sources"):
        lab.client().resolve(url)


def test_what_is_no_repository_is_told(lab: Lab):
    with pytest.raises(GitError, match=r"failed to fetch remote http://.*/a\.git: repository not found"):
        lab.tar()


def test_a_connection_that_is_reset_is_told(lab: Lab):
    def reset(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=reset, args=(listener,))
        thread.start()
        try:
            with pytest.raises(
                GitError, match=r"failed to fetch remote git://.*: the connection broke: connection reset"
            ):
                lab.tar(base=f"git://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            thread.join()


def test_a_cancelled_fetch_ends(lab: Lab):
    lab.repository().commit({"a": "1"})
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        lab.tar(client=lab.client(cancel=cancel))


def test_kept_files_are_bounded_and_what_was_used_least_goes_first(tmp_path: Path):
    root = tmp_path / "k"
    kept = FetchedFiles(root, lambda: 3 * 4096)
    for number in range(3):
        with kept.new() as file:
            file.write(b"x" * 4096)
            kept.keep(f"f{number}", file)
        os.utime(root / f"f{number}", ns=(number, number))
    reader = kept.open("f0")
    assert reader is not None
    with reader, kept.new() as file:
        file.write(b"y" * 4096)
        kept.keep("f3", file)
        assert sorted(path.name for path in root.iterdir()) == ["f0", "f2", "f3"]
        assert kept.open("f1") is None
        assert kept.trim(0, 0) == 3 * 4096
        assert reader.read() == b"x" * 4096  # who has it open keeps it
