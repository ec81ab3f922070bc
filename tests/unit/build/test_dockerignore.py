import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.planned import recorded

from corten.build.dockerfile.dockerignore import Matcher, parse_ignore
from corten.build.dockerfile.error import DockerfileError

TREE = recorded("context_tree")
names = st.text(alphabet="ab.*?[]!-^\\ /#", max_size=12)


def left_out(matcher: Matcher) -> list[str]:
    """What is missing of the tree, whose directories end with a slash and stay for what is kept in them."""
    kept = {path for path in TREE if not matcher.ignores(path)}
    parents = {
        "/".join(parts[:count]) + "/"
        for path in kept
        if (parts := path.rstrip("/").split("/"))
        for count in range(1, len(parts))
    }
    return sorted(set(TREE) - kept - parents)


@pytest.mark.parametrize(("text", "expected"), recorded("dockerignore"), ids=repr)
def test_patterns_mean_what_docker_takes_them_for(text, expected):
    if isinstance(expected, str):
        with pytest.raises(DockerfileError, match=r"syntax error in pattern|illegal exclusion pattern"):
            Matcher(parse_ignore(text.encode()))
    else:
        assert left_out(Matcher(parse_ignore(text.encode()))) == expected


@pytest.mark.parametrize(("text", "_expected"), recorded("dockerignore"), ids=repr)
def test_a_directory_that_may_hold_nothing_kept_holds_nothing_kept(text, _expected):
    try:
        matcher = Matcher(parse_ignore(text.encode()))
    except DockerfileError:
        return
    for directory in (path for path in TREE if path.endswith("/")):
        if matcher.ignores(directory) and not matcher.may_hold_kept(directory):
            assert all(matcher.ignores(path) for path in TREE if path.startswith(directory))


def test_a_directory_is_skipped_where_nothing_in_it_comes_back():
    matcher = Matcher(("node_modules", "dist", "!dist/keep", "!a*/x"))
    assert not matcher.may_hold_kept("node_modules")
    assert matcher.may_hold_kept("dist")
    assert not matcher.may_hold_kept("dist/other")
    assert matcher.may_hold_kept("abc")
    assert not Matcher(("dist",)).may_hold_kept("dist")
    assert Matcher(("dist", "!**/keep")).may_hold_kept("dist/deep")


@given(st.binary(max_size=200))
def test_any_file_can_be_parsed(data):
    for pattern in parse_ignore(data):
        assert pattern


@given(st.lists(names, max_size=6), st.lists(st.text(alphabet="ab.!-", min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_patterns_match_or_are_refused(patterns, parts):
    path = posixpath.normpath("/".join(parts))
    try:
        matcher = Matcher(parse_ignore("\n".join(patterns).encode()))
    except DockerfileError:
        return
    assert matcher.ignores(path) in (True, False)


@given(st.lists(st.sampled_from(["a", "b", "*", "?", "a*", "*b", "**", "a?b"]), min_size=1, max_size=5), st.data())
def test_wildcards_match_as_a_search_through_all_alternatives_says(parts, data):
    pattern = posixpath.normpath("/".join(parts))
    path = "/".join(data.draw(st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=5)))
    prefixes = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
    expected = any(search(pattern, prefix) for prefix in prefixes)
    assert Matcher([pattern]).ignores(path) == expected


def search(pattern: str, path: str) -> bool:
    """Plain search: `**` is any text up to a slash, or nothing, or the rest."""
    if not pattern:
        return not path
    if pattern == "**":
        return True
    if pattern.startswith("**"):
        rest = pattern[3:] if pattern.startswith("**/") else pattern[2:]
        starts = [0, *(index + 1 for index, char in enumerate(path) if char == "/")]
        return any(search(rest, path[start:]) for start in starts)
    if pattern.startswith("*"):
        end = path.find("/") if "/" in path else len(path)
        return any(search(pattern[1:], path[count:]) for count in range(end + 1))
    return (
        bool(path)
        and (pattern[0] == path[0] or (pattern[0] == "?" and path[0] != "/"))
        and search(pattern[1:], path[1:])
    )


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "**/a/" * 60 + "b", "a**/" * 2 + "b", "**/*a/" * 40 + "b"])
def test_no_pattern_takes_long(pattern):
    matcher = Matcher([pattern])
    assert not matcher.ignores("a" * 2000)
    assert not matcher.ignores("a/" * 100 + "a")


def test_limits_are_said():
    with pytest.raises(DockerfileError, match="more than"):
        Matcher(["a"] * 10_001)
    with pytest.raises(DockerfileError, match="longer than"):
        Matcher(["a" * 5000])
    with pytest.raises(DockerfileError, match="too many"):
        Matcher(["a**b**c**d"])
