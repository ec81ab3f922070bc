import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.planned import PATH, recorded

from corten.build.dockerfile.expansion import Expansion, ExpansionError, Quoting
from corten.build.dockerfile.shell_pattern import ShellPattern
from corten.build.dockerfile.words import split_pairs

VARIABLES = {"V": "val", "E": "", "P": "/usr/local/a.tar.gz", "S": "a*b/c", "W": "w", "PATH": PATH.partition("=")[2]}
shellish = st.text(alphabet="${}:-+?#%/*\\'\"` abVUE0_\n", max_size=30)


@pytest.mark.parametrize(("text", "expected"), recorded("expansion"), ids=repr)
def test_a_word_expands_as_docker_expands_it(text, expected):
    def expand() -> str | list[str]:
        pairs, _is_legacy = split_pairs("ENV", f"R={text}", "\\")
        expansion = Expansion(VARIABLES)
        values = [f"{expansion.word(name)}={expansion.word(value)}" for name, value in pairs]
        return values if len(values) > 1 else values[0].removeprefix("R=")

    if isinstance(expected, dict):
        with pytest.raises(ValueError) as caught:
            expand()
        assert str(caught.value) == expected["error"]
    else:
        assert expand() == expected


@given(shellish, st.sampled_from("\\`"))
def test_any_word_expands_or_is_refused(text, escape):
    for quoting in (
        Quoting(),
        Quoting(keep_quotes=True, keep_escapes=True, keep_unset=True),
        Quoting(ignore_quotes=True),
    ):
        expansion = Expansion({"a": "1", "V": "x y"}, escape, quoting)
        try:
            word, words = expansion.word(text), expansion.words(text)
        except ExpansionError:
            continue
        assert "".join(words) == "".join(word.split()) or set(text) & set("'\"\\`")


@given(st.text(alphabet=string.ascii_letters + " /.:=,é", max_size=40))
def test_what_has_no_special_characters_stays(text):
    assert Expansion({}).word(text) == text
    assert Expansion({}).words(text) == text.split()


@given(shellish)
def test_single_quotes_keep_everything(text):
    text = text.replace("'", "")
    assert Expansion({}).word(f"'{text}'") == text


@given(shellish)
def test_as_written_nothing_is_lost_where_nothing_is_set(text):
    expansion = Expansion({}, quoting=Quoting(keep_quotes=True, keep_escapes=True, keep_unset=True))
    try:
        result = expansion.word(text)
    except ExpansionError:
        return
    if "/" not in text and "\\" not in text:
        assert result == text


def test_values_split_into_words_and_quoted_ones_do_not():
    expansion = Expansion({"V": " a  b "})
    assert expansion.words("x$V y") == ["x", "a", "b", "y"]
    assert expansion.words('x"$V"y') == ["x a  b y"]


def test_the_escape_directive_changes_the_escape():
    assert Expansion({"V": "1"}, "`").word(r"`$V \$V") == r"$V \1"


def test_an_empty_pattern_takes_nothing_away():
    assert Expansion({"V": "val"}).word("${V#}${V##}${V%}${V%%}") == "val" * 4


def test_unset_names_are_gathered():
    expansion = Expansion({"V": "1"})
    expansion.word("$V $U ${X:-$Y} ${V:-$Z}")
    assert expansion.unset == {"U", "X", "Y", "Z"}


@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=10))
def test_patterns_match_as_a_search_through_all_alternatives_says(pattern, value):
    ends = [end for end in range(len(value) + 1) if search(pattern, value[:end])]
    assert ShellPattern(pattern).prefix(value, longest=False) == min(ends, default=None)
    assert ShellPattern(pattern).prefix(value, longest=True) == max(ends, default=None)
    starts = [start for start in range(len(value) + 1) if search(pattern, value[start:])]
    backwards = ShellPattern(pattern, is_reversed=True).prefix(value[::-1], longest=False)
    assert backwards == (len(value) - max(starts) if starts else None)


def search(pattern: str, value: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(search(pattern[1:], value[count:]) for count in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and search(pattern[1:], value[1:])


@pytest.mark.parametrize(
    "word",
    [
        "${U:-" * 60 + "}" * 60,
        "${A//?/$A}",
        "$A" * 300,
        '"' + "$A" * 300 + '"',
        "${A//*b*b*b*b/x}" * 300,
    ],
)
def test_what_grows_without_end_is_refused(word):
    with pytest.raises(ExpansionError, match=r"limit|nested|too long"):
        Expansion({"A": "a" * 5000}).word(word)


def test_a_pattern_that_would_backtrack_for_ever_ends():
    assert Expansion({"A": "a" * 2000}).word("${A%" + "*a" * 200 + "*b}") == "a" * 2000
