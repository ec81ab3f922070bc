from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.linux import mount
from corten.runtime.options import ATTRIBUTE_NAMES, PROPAGATION_NAMES, new_mount_attributes, parse_options


def test_dockers_usual_options_become_attributes_and_data() -> None:
    options = parse_options(["nosuid", "strictatime", "mode=755", "size=65536k"])
    assert new_mount_attributes(options) == mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_STRICTATIME
    assert options.data == [("mode", "755"), ("size", "65536k")]


def test_the_later_of_two_contradicting_options_wins() -> None:
    options = parse_options(["ro", "rw"])
    assert options.attr_set == 0
    assert options.attr_clr == mount.MOUNT_ATTR_RDONLY
    assert not options.read_only
    assert parse_options(["rw", "ro"]).read_only


def test_an_atime_mode_clears_the_whole_field() -> None:
    options = parse_options(["noatime", "strictatime"])
    assert options.attr_set & mount.MOUNT_ATTR__ATIME == mount.MOUNT_ATTR_STRICTATIME
    assert options.attr_clr & mount.MOUNT_ATTR__ATIME == mount.MOUNT_ATTR__ATIME


def test_recursive_options_are_kept_apart() -> None:
    options = parse_options(["rbind", "rro", "nosuid", "rprivate"])
    assert options.bind
    assert options.recursive
    assert options.rec_set == mount.MOUNT_ATTR_RDONLY
    assert options.attr_set == mount.MOUNT_ATTR_NOSUID
    assert options.propagations == [(mount.MS_PRIVATE, True)]
    assert options.read_only


@pytest.mark.parametrize(
    ("words", "bind", "recursive"), [(["bind"], True, False), (["rbind"], True, True), ([], False, False)]
)
def test_bind_and_rbind(words: list[str], *, bind: bool, recursive: bool) -> None:
    options = parse_options(words)
    assert (options.bind, options.recursive) == (bind, recursive)


def test_unknown_words_belong_to_the_file_system() -> None:
    assert parse_options(["newinstance", "gid=5", "defaults", ""]).data == [("newinstance", None), ("gid", "5")]


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_options(["context=a=b"]).data == [("context", "a=b")]


@given(st.lists(st.sampled_from([*ATTRIBUTE_NAMES, *PROPAGATION_NAMES, "bind", "tmpcopyup", "idmap", "x=y", "flag"])))
def test_no_attribute_is_set_and_cleared_but_the_atime_field(words: list[str]) -> None:
    options = parse_options(words)
    for on, off in ((options.attr_set, options.attr_clr), (options.rec_set, options.rec_clr)):
        assert on & off & ~mount.MOUNT_ATTR__ATIME == 0
        if on & mount.MOUNT_ATTR__ATIME:
            assert off & mount.MOUNT_ATTR__ATIME == mount.MOUNT_ATTR__ATIME
