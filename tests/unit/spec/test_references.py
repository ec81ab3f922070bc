"""Image references: Docker's normal forms, its refusals, and that parsing never fails in another way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.spec import reference
from corten.spec.reference import InvalidReference, Reference

DIGEST = "sha256:" + "0123456789abcdef" * 4
component = st.from_regex(r"[a-z0-9]+((\.|_|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True).filter(lambda s: len(s) < 30)
domain = st.sampled_from(["docker.io", "localhost", "127.0.0.1:5000", "a.b", "reg:80", "[::1]:5000", "MyHost"])
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "normal", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("user/app", "docker.io/user/app", "user/app"),
        ("docker.io/library/user/app", "docker.io/library/user/app", "library/user/app"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"a.b/c/d__e:1@{DIGEST}", f"a.b/c/d__e:1@{DIGEST}", f"a.b/c/d__e:1@{DIGEST}"),
        ("MyHost/app", "MyHost/app", "MyHost/app"),
    ],
)
def test_names_have_a_normal_and_a_familiar_form(text, normal, familiar):
    found = reference.parse(text)
    assert (str(found), found.familiar) == (normal, familiar)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("busybox:", "invalid reference format"),
        ("busybox@", "invalid reference format"),
        ("busybox@sha256:12", "invalid reference format"),
        ("busybox@md5:" + "0" * 32, "unsupported digest algorithm"),
        ("a//b", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("../a", "invalid reference format"),
        ("a/../b", "invalid reference format"),
        ("x:y:z", "invalid reference format"),
        ("a" + "/b" * 128, "repository name must not be more than 255 characters"),
        ("http://host/x", "invalid reference format"),
        ("-host.x/a", "invalid reference format"),
    ],
)
def test_what_is_no_reference_is_refused_in_dockers_words(text, message):
    with pytest.raises(InvalidReference) as caught:
        reference.parse(text)
    assert caught.value.message == message


@given(domain, st.lists(component, min_size=1, max_size=4), st.none() | tag, st.none() | st.just(DIGEST))
def test_every_normal_form_parses_to_itself(where, parts, label, digest):
    text = f"{where}/{'/'.join(parts)}" + (f":{label}" if label else "") + (f"@{digest}" if digest else "")
    found = reference.parse(text)
    assert reference.parse(str(found)) == found
    assert reference.parse(found.familiar) == found


@given(st.text(max_size=80) | st.text(alphabet="aA0.:/@-_[]", max_size=60))
@settings(max_examples=500)
def test_any_text_is_a_reference_or_refused(text):
    try:
        found = reference.parse(text)
    except InvalidArgument:
        return
    assert isinstance(found, Reference)
    assert reference.parse(found.familiar) == found


@pytest.mark.parametrize("text", ["a-" * 500 + "/b", "a" * 900 + "!/x", "0." * 500 + "/", "a_" * 400 + "_"])
def test_long_names_are_refused_without_backtracking(text):
    with pytest.raises(InvalidReference):
        reference.parse(text)


def test_ids_and_their_beginnings_are_told_from_names():
    assert reference.id_prefix("sha256:ab12") == "ab12"
    assert reference.id_prefix("ab12") == "ab12"
    assert reference.id_prefix("xyz") is None
    assert reference.id_prefix("") is None
