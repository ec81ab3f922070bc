"""--cap-add, --cap-drop and --privileged give what Docker gives, with its error texts."""

from __future__ import annotations

import pytest

from corten.errors import InvalidArgument
from corten.security.capabilities import DEFAULT, available, effective_caps

HELD = [*DEFAULT, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]


def test_the_default_set():
    assert effective_caps() == list(DEFAULT)
    assert len(DEFAULT) == 14


def test_added_and_dropped_names_in_any_spelling():
    assert effective_caps(["net_admin"], ["CAP_MKNOD", "Net_Raw"]) == [
        *(name for name in DEFAULT if name not in ("CAP_MKNOD", "CAP_NET_RAW")),
        "CAP_NET_ADMIN",
    ]
    assert effective_caps(["CHOWN"]) == list(DEFAULT)


def test_all_dropped_leaves_the_added():
    assert effective_caps(["NET_BIND_SERVICE"], ["all"]) == ["CAP_NET_BIND_SERVICE"]
    assert effective_caps([], ["ALL"]) == []


def test_all_added_leaves_out_the_dropped():
    assert effective_caps(["all"], ["sys_admin"], held=HELD) == [*DEFAULT, "CAP_NET_ADMIN"]
    assert effective_caps(["ALL"], ["ALL"], held=HELD) == HELD


def test_privileged_gets_all_there_is_whatever_is_dropped():
    assert effective_caps([], ["CAP_KILL"], True, held=HELD) == HELD
    assert effective_caps(privileged=True) == list(available())


@pytest.mark.parametrize(
    ("add", "drop", "text"),
    [
        (["x"], [], 'invalid CapAdd: unknown capability: "CAP_X"'),
        ([], ["CAP_fly"], 'invalid CapDrop: unknown capability: "CAP_FLY"'),
        ([""], [], 'invalid CapAdd: unknown capability: "CAP_"'),
        (['a"\n'], [], r'invalid CapAdd: unknown capability: "CAP_A\"\n"'),
    ],
)
def test_unknown_names_get_dockers_text(add, drop, text):
    with pytest.raises(InvalidArgument) as caught:
        effective_caps(add, drop, True)
    assert caught.value.message == text
