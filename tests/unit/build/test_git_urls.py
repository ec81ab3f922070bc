"""Git URLs of Dockerfiles and clients: BuildKit's forms, and what of them never gets further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.dockerfile.contexts import git_checkout
from corten.build.git.error import GitError
from corten.build.git.refs import Refs, Resolved, candidates, resolve_ref
from corten.build.git.submodules import Submodule, parse_gitmodules, submodule_remote
from corten.build.git.url import GitUrl, parse_git_url
from corten.build.location import redacted, without_credentials

SHA = "a" * 40
R = "https://h/x.git"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (R, GitUrl(remote=R)),
        ("HTTPS://h/x.git", GitUrl(remote=R)),
        (f"{R}#v1", GitUrl(remote=R, ref="v1")),
        (f"{R}#v1:a/b", GitUrl(remote=R, ref="v1", subdir="a/b")),
        (f"{R}#:/a//b/", GitUrl(remote=R, subdir="a/b")),
        (f"{R}#feature/x:d", GitUrl(remote=R, ref="feature/x", subdir="d")),
        (f"{R}#pull/1/head", GitUrl(remote=R, ref="pull/1/head")),
        (f"{R}#a%20b", None),
        (f"{R}?ref=v1&subdir=d", GitUrl(remote=R, ref="v1", subdir="d")),
        (f"{R}?tag=v1", GitUrl(remote=R, ref="refs/tags/v1")),
        (f"{R}?tag=refs/tags/v1", GitUrl(remote=R, ref="refs/tags/v1")),
        (f"{R}?branch=b", GitUrl(remote=R, ref="refs/heads/b")),
        (f"{R}?commit={SHA}", GitUrl(remote=R, ref=SHA, checksum=SHA)),
        (f"{R}?branch=b&checksum=abcdef1", GitUrl(remote=R, ref="refs/heads/b", checksum="abcdef1")),
        (f"{R}?keep-git-dir", GitUrl(remote=R, keep_git_dir=True)),
        (f"{R}?keep-git-dir=0&submodules=false", GitUrl(remote=R, keep_git_dir=False, submodules=False)),
        (f"{R}?ref=v1#v1:d", GitUrl(remote=R, ref="v1", subdir="d")),
        ("http://h:8080/a/x.git", GitUrl(remote="http://h:8080/a/x.git")),
        ("git://h/x", GitUrl(remote="git://h/x")),
        ("git://h/x#r", GitUrl(remote="git://h/x", ref="r")),
        ("ssh://git@h/x.git", GitUrl(remote="ssh://git@h/x.git")),
        ("git@h:o/x.git#r:d", GitUrl(remote="git@h:o/x.git", ref="r", subdir="d")),
    ],
)
def test_the_forms_that_buildkit_knows(text, expected):
    if expected is None:
        with pytest.raises(ValueError, match="invalid git ref"):
            parse_git_url(text)
    else:
        assert parse_git_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://h/x", "https://h/x.tar.gz", "https://h/x.git/y", "https://h/y?x=.git", "https://h/y#.git", "dir/x.git",
        "./git@h:x", "../x.git", "/srv/x.git", "file:///srv/x.git", "ext::sh -c x", "ext://x.git", "x.git", "C:\\x.git",
        "github.com/o/r", "https://[h/x.git", "fd::17/x.git", "", "a b@c:d",
    ],
)  # fmt: skip
def test_other_urls_are_no_repositories(text):
    assert parse_git_url(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{R}?x=1", 'unexpected query "x"'),
        (f"{R}?ref=", 'query "ref" has no value'),
        (f"{R}?ref=a&ref=b", 'query "ref" has multiple values'),
        (f"{R}?ref=a#b", 'ref conflicts: "b" vs "a"'),
        (f"{R}?ref=a&tag=a", "ref conflicts"),
        (f"{R}?tag=a&branch=b", "branch conflicts with tag"),
        (f"{R}?subdir=a#:b", "subdir conflicts"),
        (f"{R}?submodules=perhaps", "invalid submodules value"),
        (f"{R}?commit=xyz", "invalid git checksum"),
        (f"{R}?commit={SHA}&checksum={'b' * 40}", "checksum conflicts"),
        (f"{R}#-oProxyCommand=x", "invalid git ref"),
        (f"{R}#--upload-pack=touch", "invalid git ref"),
        (f"{R}#a%0Awant", "invalid git ref"),
        (f"{R}#a..b", "invalid git ref"),
        (f"{R}#:../../etc", "invalid directory"),
        (f"{R}#:a%00b", "invalid directory"),
        ("git://", "invalid git URL"),
        ("git://h:99999/x", "invalid git URL"),
        ("git://h/a%0d b", "blanks"),
    ],
)
def test_parts_that_cannot_be_are_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_git_url(text)


def test_a_context_may_be_a_name_at_github():
    expected = GitUrl(remote="https://github.com/o/r", ref="main", subdir="d")
    assert parse_git_url("github.com/o/r#main:d", is_context=True) == expected


@given(
    st.text(max_size=60), st.sampled_from(["", "https://", "git://", "git@h:", "https://h/x.git?", "https://h/x.git#"])
)
def test_any_text_is_a_repository_or_not_or_refused(text, start):
    try:
        found = parse_git_url(start + text, is_context=True)
    except ValueError:
        return
    if found is not None:
        assert found.scheme in ("http", "https", "git", "ssh")
        assert not found.ref.startswith("-")
        assert not any(char.isspace() or not char.isprintable() for char in found.remote + found.ref)
        assert ".." not in found.subdir.split("/")


def test_credentials_are_apart_from_the_url():
    found = parse_git_url("https://me:s3cr%40t@h:1/x.git#r")
    assert (found.remote, found.authorization) == ("https://h:1/x.git", "Basic bWU6czNjckB0")
    assert "Basic" not in repr(found)
    assert "bWU6" not in repr(found)
    with_user = git_checkout("https://me:s3cret@h/x.git")
    assert with_user.definition() == git_checkout("https://h/x.git").definition()
    assert without_credentials("http://token@h/f") == ("http://h/f", "Basic dG9rZW46")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ADD https://u:p@h/x /y", "ADD https://xxxxx:xxxxx@h/x /y"),
        ("ADD https://tok@h/x /y", "ADD https://xxxxx@h/x /y"),
        ("a http://u:p@q@h/x b https://u:p@h", "a http://xxxxx:xxxxx@h/x b https://xxxxx:xxxxx@h"),
        ("ADD https://h/x@y /z", "ADD https://h/x@y /z"),
        ("ADD https://u:it's@h/x /y", "ADD https://xxxxx:xxxxx@h/x /y"),
        ("RUN a@b", "RUN a@b"),
        ("RUN ://u:p@h", "RUN ://u:p@h"),
    ],
)
def test_credentials_are_not_shown(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize("text", ["@://" + "a" * (1 << 20), "a://" * (1 << 18) + "@", "a://b@" * (1 << 17)])
def test_credentials_are_looked_for_once_in_any_text(text):
    """Searched again from each letter, a long word of a Dockerfile would hold the whole engine up for hours."""
    assert len(redacted(text)) >= len(text)


@pytest.mark.parametrize(
    "url", ["ssh://me:{}@h:x/r", "ssh://me:{}@h/r#a..b", "https://me:{}@/x.git", "git://me:{}@h:x/r"]
)
@pytest.mark.parametrize("token", ["s3cret", "s3cret" * 100])
def test_errors_have_no_credentials_however_long(url, token):
    with pytest.raises(ValueError) as caught:
        parse_git_url(url.format(token))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ValueError) as caught:
        git_checkout(f"ssh://me:{token}@h/r")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(GitError) as refused:
        submodule_remote("https://h/r", f"ssh://me:{token}@h/r", "sub")
    assert "s3cret" not in str(refused.value)


REFS = Refs(
    ids={"HEAD": "1", "refs/heads/main": "1", "refs/heads/v1": "2", "refs/tags/v1": "3", "refs/pull/4/head": "4", "refs/tags/v2": "5"},
    peeled={"refs/tags/v1": "6"},
    head="refs/heads/main",
)  # fmt: skip


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("", Resolved(commit="1", ref="refs/heads/main", object_id="1")),
        ("main", Resolved(commit="1", ref="refs/heads/main", object_id="1")),
        ("v1", Resolved(commit="2", ref="refs/heads/v1", object_id="2")),
        ("refs/tags/v1", Resolved(commit="6", ref="refs/tags/v1", object_id="3")),
        ("tags/v2", Resolved(commit="5", ref="refs/tags/v2", object_id="5")),
        ("pull/4/head", Resolved(commit="4", ref="refs/pull/4/head", object_id="4")),
    ],
)
def test_a_ref_means_what_git_checkout_would_make_of_it(ref, expected):
    assert resolve_ref(REFS, ref, "") == expected
    assert expected.ref in candidates(ref) or not ref


def test_a_ref_that_is_not_there_or_not_the_commit_expected_is_refused():
    with pytest.raises(GitError, match='does not contain ref "nope"'):
        resolve_ref(REFS, "nope", "")
    with pytest.raises(GitError, match="expected checksum to match 77, got 1"):
        resolve_ref(REFS, "main", "77")
    with pytest.raises(GitError, match="default branch"):
        resolve_ref(Refs(), "", "")


def test_submodules_are_read_as_git_reads_them():
    text = b"""
[submodule "one"]
\tpath = lib/one
\turl = ../one.git ; comment
[submodule "two \\"x\\""] path = two
  url = "https://h/a b#c"
  update = none
[other "x"]
  path = no
[submodule "bare"]
"""
    assert parse_gitmodules(text) == {
        "lib/one": Submodule("../one.git"),
        "two": Submodule("https://h/a b#c", is_left_out=True),
    }


@given(st.binary(max_size=300))
def test_any_bytes_are_submodules_or_none(data):
    for entry in parse_gitmodules(b'[submodule "a"]\n' + data).values():
        assert isinstance(entry.url, str)


@pytest.mark.parametrize(
    ("parent", "url", "remote"),
    [
        ("https://h/a/x.git", "../y.git", "https://h/a/y.git"),
        ("https://h/a/x.git", "./y.git", "https://h/a/x.git/y.git"),
        ("git://h:1/a/x", "../../y", "git://h:1/y"),
        ("https://h/x", "https://o/z", "https://o/z"),
        ("https://h/x.git", "../../../../y", "https://h/y"),
        ("https://h/x.git", "git@h:o/y.git", "git@h:o/y.git"),
        ("https://h/x.git", "ssh://git@h:2/y", "ssh://git@h:2/y"),
        ("ssh://git@h:2/a/x", "../y", "ssh://git@h:2/a/y"),
        ("git@h:a/x.git", "../y.git", "git@h:a/y.git"),
        ("git@h:/a/x.git", "../../y.git", "git@h:/y.git"),
    ],
)
def test_a_submodule_may_be_named_from_where_its_parent_is(parent, url, remote):
    assert submodule_remote(parent, url, "p") == (remote, "")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "/etc",
        "ext::sh -c touch% /x",
        "-u./x",
        "--upload-pack=x",
        "-oProxyCommand=x@h:x",
        "me@-h:x",
        "ssh://me:secret@h/x",
        "",
        "https://",
        "x",
    ],
)
def test_submodules_of_other_transports_are_refused(url):
    with pytest.raises(GitError, match="only http, https, git and ssh URLs"):
        submodule_remote("https://h/x.git", url, "p")
