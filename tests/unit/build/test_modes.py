"""--chmod, compared with chmod(1)."""

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.build.copying.mode import mode_change
from corten.errors import InvalidArgument

clause = st.builds(
    lambda who, actions: who + "".join(sign + letters for sign, letters in actions),
    st.sampled_from(["u", "g", "o", "a", "ug", "go", "ugo", "uo"]),
    st.lists(
        st.tuples(
            st.sampled_from("+-="), st.sampled_from(["", "r", "rw", "x", "X", "rwX", "rwx", "u", "g", "o", "s", "t"])
        ),
        min_size=1,
        max_size=2,
    ),
)


def changed(text: str, mode: int, *, is_directory: bool = False) -> int:
    change = mode_change(text)
    assert change is not None
    return change.apply(mode, is_directory=is_directory)


@settings(max_examples=60, deadline=None)
@given(st.lists(clause, min_size=1, max_size=3).map(",".join), st.integers(0, 0o7777), st.booleans())
def test_symbolic_modes_are_those_of_chmod(tmp_path_factory, text, mode, is_directory):
    path = tmp_path_factory.mktemp("mode") / "x"
    path.mkdir() if is_directory else path.touch()
    os.chmod(path, mode)
    subprocess.run(["chmod", "--", text, str(path)], check=True, umask=0)
    assert changed(text, mode, is_directory=is_directory) == os.stat(path).st_mode & 0o7777


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("755", 0o600, 0o755),
        ("04711", 0o600, 0o4711),
        ("0", 0o777, 0),
        ("+x", 0o644, 0o755),
        ("u=rwX,go=rX", 0o711, 0o755),
        ("g=u,o-rwx", 0o640, 0o660),
    ],
)
def test_a_change_gives_the_mode_that_chmod_gives(text, mode, expected):
    assert changed(text, mode) == expected


def test_no_words_change_no_mode():
    assert mode_change("") is None


@pytest.mark.parametrize(
    "text", ["8", "77777", "u", "z+x", "u+q", "u+x,", "0755x", "-1", "u+x" + ",u+x" * 100, "\uff11", "u+ur"]
)
def test_what_is_no_mode_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid chmod parameter"):
        mode_change(text)
