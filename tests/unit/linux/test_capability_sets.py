"""Capability names, numbers and masks."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from corten.linux import capabilities


def test_numbers_are_the_kernels():
    assert capabilities.NUMBERS["CAP_CHOWN"] == 0
    assert capabilities.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert capabilities.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40
    with open("/proc/sys/kernel/cap_last_cap") as file:
        assert capabilities.last_cap() == int(file.read())


@given(st.sets(st.sampled_from(capabilities.NAMES)))
def test_names_survive_the_way_through_a_mask(names):
    assert set(capabilities.to_names(capabilities.to_mask(names))) == names


def test_dockers_default_set_has_the_known_mask():
    from corten.security.capabilities import DEFAULT

    assert capabilities.to_mask(DEFAULT) == 0xA80425FB


def test_unknown_names_are_told_and_left_out():
    assert capabilities.unknown(["CAP_KILL", "CAP_FLY", "kill"]) == ["CAP_FLY", "kill"]
    assert capabilities.to_mask(["CAP_FLY"]) == 0


def test_oci_sets():
    sets = capabilities.from_oci({"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN"], "ambient": None})
    assert sets == (0b100001, 1, 0, 0, 0)
    assert capabilities.from_oci(None) == (0, 0, 0, 0, 0)


def test_the_sets_of_a_process_are_read():
    own = capabilities.of_process()
    assert own.effective & ~own.permitted == 0
    assert capabilities.of_process(os.getpid()) == own
