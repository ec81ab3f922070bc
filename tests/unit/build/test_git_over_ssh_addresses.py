"""Addresses of git over ssh: what the server is asked for, as git's own client asks, and what no shell may see."""

from __future__ import annotations

import base64
import hashlib
import shlex
import subprocess

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.git.error import GitError
from corten.build.git.ssh_hosts import PUBLISHED
from corten.build.git.ssh_target import is_ssh, quoted, ssh_target


@pytest.mark.parametrize(
    ("remote", "parts"),
    [
        ("git@h:o/x.git", ("git", "h", 22, "o/x.git")),
        ("me@h:/srv/x", ("me", "h", 22, "/srv/x")),
        ("ssh://h/srv/x", ("git", "h", 22, "/srv/x")),
        ("ssh://me@h:2222/srv/a%20b", ("me", "h", 2222, "/srv/a b")),
        ("ssh://me@[::1]:2222/~/x", ("me", "::1", 2222, "~/x")),
        ("ssh://git@h/~me/x", ("git", "h", 22, "~me/x")),
    ],
)
def test_the_parts_of_an_address(remote: str, parts: tuple[str, str, int, str]) -> None:
    found = ssh_target(remote)
    assert (found.user, found.host, found.port, found.path) == parts
    assert is_ssh(remote)


def test_a_user_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(GitError, match=r"strange user 'a\\x1b\[2J'"):
        ssh_target("ssh://a%1b%5b2J@h/x")


@pytest.mark.parametrize(
    "remote", ["git@h:-x", "git@h:", "ssh://h", "ssh://h/", "git@h:a\nb", "ssh://h/a%0ab", "ssh:///x"]
)
def test_paths_that_servers_may_take_for_something_else_are_refused(remote: str) -> None:
    with pytest.raises(GitError, match="strange path"):
        ssh_target(remote)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1))
def test_a_shell_gets_one_word(text: str) -> None:
    assert shlex.split(quoted(text)) == [text]


def test_a_real_shell_gets_the_words_of_a_command() -> None:
    path = 'it\'s a $(touch x) `id` "!" \\ ;&|.git'
    command = ssh_target(f"git@h:{path}").command
    shown = subprocess.run(["sh", "-c", f"printf '%s|' {command}"], capture_output=True, text=True, check=False)
    assert shown.stdout == f"git-upload-pack|{path}|"


def test_the_published_keys_have_the_fingerprints_that_hosts_show() -> None:
    known = asyncssh.import_known_hosts(PUBLISHED)
    fingerprints = {
        "github.com": "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
        "gitlab.com": "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
        "bitbucket.org": "SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
    }
    for host, fingerprint in fingerprints.items():
        ((key,), *_) = known.match(host, "", None)
        digest = base64.b64encode(hashlib.sha256(key.public_data).digest()).decode()
        assert f"SHA256:{digest.rstrip('=')}" == fingerprint
