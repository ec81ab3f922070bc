"""Lexer, parser, directives, here-documents: what stands where in any bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corten.build.dockerfile.directives import parse_directives
from corten.build.dockerfile.error import DockerfileError, ParseError, suggestion
from corten.build.dockerfile.lexer import LINE_LIMIT, Lexer
from corten.build.dockerfile.lower import check_syntax
from corten.build.dockerfile.parser import parse_source
from corten.build.dockerfile.stages import parse_dockerfile
from corten.build.dockerfile.words import json_strings, split_flags, split_quoted

KEYWORDS = ["FROM scratch", "RUN", "COPY", "ADD a b", "ENV", "ARG", "ONBUILD", "LABEL", "HEALTHCHECK CMD", "CMD", "x"]
lines = st.tuples(
    st.sampled_from(["", "# ", "  ", "\t", *KEYWORDS]), st.text(alphabet="ab= $\"'\\`<-#[],{}:EOF", max_size=12)
).map(" ".join)
files = st.lists(lines, max_size=12).map("\n".join)


def logical_lines(data: bytes) -> list:
    lexer, found = Lexer(data), []
    while (line := lexer.next()) is not None:
        found.append(line)
    return found


def error_of(data: bytes) -> ParseError | None:
    try:
        parse_dockerfile(data)
    except ParseError as error:
        return error
    return None


@given(st.one_of(st.binary(max_size=300), files.map(str.encode)))
@example(b"FROM a\nRUN <<E\n")
@example(b"\\")
@example(b"FROM \\\n\\\n")
def test_any_bytes_are_a_dockerfile_or_a_parse_error(data):
    error = error_of(data)
    if error is not None:
        assert error.message.endswith(error.reason)
        assert 0 <= error.lines[0] <= error.lines[1] <= data.count(b"\n") + 1


@given(files)
def test_line_ranges_are_in_order_and_cover_all_but_comments_and_empty_lines(text):
    try:
        source = parse_source(text.encode())
    except ParseError:
        return
    covered: set[int] = set()
    for node in source.nodes:
        first, last = node.lines
        assert first <= last
        assert not covered & set(range(first, last + 1))
        covered |= set(range(first, last + 1))
    for number, line in enumerate(source.lines, 1):
        if line.strip() and not line.strip().startswith("#"):
            assert number in covered


words = st.text(alphabet="abXY09/.-_=", min_size=1, max_size=8).filter(lambda word: not word.startswith("-"))


@given(
    st.lists(st.tuples(st.sampled_from(["RUN", "copy", "Label"]), st.lists(words, min_size=1, max_size=5)), min_size=1)
)
def test_what_is_printed_is_parsed_again(instructions):
    printed = "\n".join(f"{keyword} {' '.join(arguments)}" for keyword, arguments in instructions)
    parsed = [(node.keyword, node.arguments.split()) for node in parse_source(printed.encode()).nodes]
    assert parsed == instructions
    joint = " \\\n# between\n "
    wrapped = "\n# c\n".join(f"{keyword} {joint.join(arguments)}" for keyword, arguments in instructions)
    assert [(node.keyword, node.arguments.split()) for node in parse_source(wrapped.encode()).nodes] == instructions


def test_comments_and_empty_lines_within_a_continuation_are_left_out():
    (line,) = logical_lines(b"RUN a \\\n# comment\n\n  # more\n b \\  \n\tc\n")
    assert (line.text, line.first, line.last, line.empty_continuation) == ("RUN a  b \tc", 1, 6, True)


def test_an_escaped_escape_continues_nothing():
    assert [line.text for line in logical_lines(b"ENV A=1\\\\\nENV B=2\\\n3")] == ["ENV A=1\\\\", "ENV B=23"]


def test_comments_right_above_belong_to_an_instruction():
    text = b"# escape=\\\n# a\n\n# b\n# c\nFROM x\n#\nRUN y\n"
    assert [line.comments for line in logical_lines(text)] == [("b", "c"), ()]


def test_byte_order_mark_and_carriage_returns_are_passed_over():
    assert [line.text for line in logical_lines(b"\xef\xbb\xbfFROM a\r\nRUN x \\\r\n y\r\n")] == ["FROM a", "RUN x  y"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the Dockerfile cannot be empty"),
        (b"# only\n", "file with no instructions"),
        (b" \n\n", "file with no instructions"),
        (
            b"FROM a\nRUN " + b"x" * LINE_LIMIT,
            "dockerfile parse error on line 2: dockerfile line greater than max allowed",
        ),
        (b"x" * (5 << 20), "larger than the limit"),
        (b"\n" * 200_000 + b"FROM a", "longer than the limit"),
        (b"FROM a\n" + b"RUN x\n" * 5000, "line 5001: more than 5000 instructions"),
        (b"FORM scratch\n", r"dockerfile parse error on line 1: unknown instruction: FORM \(did you mean FROM\?\)"),
        (b"FROM a\n\nCOPPY a b", r"on line 3: unknown instruction: COPPY \(did you mean COPY\?\)"),
        (b"FROM a\nRUN <<A <<B\nA\n", "on line 2: unterminated heredoc"),
        (b"RUN x\nFROM a", "on line 1: no build stage in current context"),
        (b"ARG x\n", "dockerfile contains no stages to build"),
    ],
)
def test_errors_say_what_and_where(data, message):
    with pytest.raises(ParseError, match=message):
        parse_dockerfile(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=a/b:1\n# escape=`\n# check=skip=all", ("a/b:1", "`", "skip=all")),
        ("#SYNTAX = x \nFROM a", ("x", "\\", "")),
        ("# comment\n# escape=`", ("", "\\", "")),
        ("\n# escape=`", ("", "\\", "")),
        ("# other=1\n# escape=`", ("", "\\", "")),
        ("// syntax=x\nmodule main", ("x", "\\", "")),
        ("#!/usr/bin/x\n# syntax=y", ("y", "\\", "")),
        ('{"syntax": "z", "a": 1}', ("z", "\\", "")),
        ('{"syntax": 1}', ("", "\\", "")),
        ("{", ("", "\\", "")),
    ],
)
def test_directives_stand_in_the_first_lines(text, expected):
    found = parse_directives(text.split("\n"))
    assert (found.syntax, found.escape, found.check) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=`\n# Escape=`", "line 2: only one escape parser"),
        ("# syntax=a\n# escape=x", "line 2: invalid escape"),
    ],
)
def test_wrong_directives_are_refused(text, message):
    with pytest.raises(ParseError, match=message):
        parse_directives(text.split("\n"))


@pytest.mark.parametrize(
    "syntax", ["", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs@sha256:0", "dockerfile.v0"]
)
def test_dockers_own_frontends_are_taken(syntax):
    check_syntax(syntax)


@pytest.mark.parametrize("syntax", ["me/frontend", "localhost:5000/docker/dockerfile", "r2d4/mocker:latest"])
def test_other_frontends_are_refused(syntax):
    with pytest.raises(DockerfileError, match="is not supported"):
        check_syntax(syntax)


HEREDOCS = """\
RUN <<A 3<<-"B C" cat <<'D'
a $x
A
\tb\r
\t\tB C
d
D
COPY <<E /x
\te
E
RUN ["<<F"]
RUN echo a<<G $((1<<2)) "<<H"
"""


def test_here_documents_follow_their_line():
    first, second, third, fourth = parse_source(HEREDOCS.encode()).nodes
    assert [(h.name, h.descriptor, h.strips_tabs, h.expands, h.content) for h in first.heredocs] == [
        ("A", 0, False, True, "a $x\n"),
        ("B C", 3, True, False, "\tb\r\n"),
        ("D", 0, False, False, "d\n"),
    ]
    assert [heredoc.text for heredoc in first.heredocs] == ["a $x\n", "b\r\n", "d\n"]
    assert (first.lines, second.lines, third.lines, fourth.lines) == ((1, 7), (8, 10), (11, 11), (12, 12))
    assert second.heredocs[0].text == "\te\n"
    assert not third.heredocs
    assert not fourth.heredocs


def test_a_trigger_keeps_its_here_documents():
    (node,) = parse_source(b"ONBUILD RUN <<A\nx\nA\n").nodes
    assert node.heredocs[0].content == "x\n"
    assert node.lines == (1, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b"]', ["a", "b"]),
        (' [ "a" ] x', ["a"]),
        ("['a']", None),
        ('["a" "b"]', None),
        ("[NaN]", None),
        ("a", None),
        ("[]", []),
        (r'["\ud800"]', ["\ufffd"]),
        ("[" * 100_000, None),
    ],
)
def test_what_is_no_json_array_of_strings_is_for_the_shell(text, expected):
    assert json_strings(text) == expected


@pytest.mark.parametrize("text", ["[1]", "[null]", '["a", ["b"]]'])
def test_other_arrays_are_refused(text):
    with pytest.raises(ValueError, match="comprised of strings only"):
        json_strings(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--a=1 --b c --d", (["--a=1", "--b"], "c --d")),
        ("--a='x y' z", (["--a=x y"], "z")),
        (r"--a=\"x\ y z", (['--a="x y'], "z")),
        ("-- --a b", ([], "--a b")),
        ("", ([], "")),
    ],
)
def test_flags_stand_before_all_else(text, expected):
    assert split_flags(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a \"b c\"d 'e f'", ["a", '"b c"d', "'e f'"]), (r"a\ b c", [r"a\ b", "c"]), (r"'\' x", [r"'\'", "x"])],
)
def test_quoted_words_keep_their_quotes(text, expected):
    assert split_quoted(text, "\\") == expected


def test_only_near_words_are_suggested():
    assert suggestion("FORM", ["FROM", "RUN"]) == "FROM"
    assert suggestion("XYZ", ["FROM", "RUN"]) in ("", "RUN")
    assert suggestion("FROM", ["FROM"]) == ""
