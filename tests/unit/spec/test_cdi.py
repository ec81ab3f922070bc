"""CDI specifications: what is one, and what is no reason to fail for anybody but its own device."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.cdi import CdiDirectories
from corten.errors import InvalidArgument
from corten.spec.cdi import is_qualified, specification_of


def document(**fields: object) -> dict[str, object]:
    device = {"name": "one", "containerEdits": {"env": ["A=1"]}}
    return {"cdiVersion": "0.6.0", "kind": "v.com/gpu", "devices": [device], **fields}


@pytest.mark.parametrize("name", ["v.com/gpu=one", "v/c=0", "a-b.c/d_e-f=0:1.g_h"])
def test_names_of_devices(name: str):
    assert is_qualified(name)


@pytest.mark.parametrize(
    "name", ["", "gpu=1", "/gpu=1", "v.com/=1", "v.com/gpu", "v.com/gpu=", "1v/c=1", "v/c=-", "v/c/d=1", "v/c=a\n"]
)
def test_no_names_of_devices(name: str):
    assert not is_qualified(name)


@pytest.mark.parametrize(
    ("edits", "text"),
    [
        ({"env": ["A"]}, "NAME=value"),
        ({"mounts": [{"hostPath": "etc", "containerPath": "/x"}]}, "absolute path"),
        ({"mounts": [{"hostPath": "/etc", "containerPath": "/x", "type": "nfs"}]}, "type 'nfs'"),
        ({"hooks": [{"hookName": "sometimes", "path": "/bin/true"}]}, "unknown hook"),
        ({"deviceNodes": [{"path": "/dev/x", "permissions": "all"}]}, "permissions"),
        ({"intelRdt": {"closID": "x"}}, "intelRdt is not supported"),
        ({"netDevices": [{"hostInterfaceName": "eth0", "name": "eth0"}]}, "netDevices is not supported"),
    ],
)
def test_what_a_specification_must_not_say(edits: dict[str, object], text: str):
    with pytest.raises(InvalidArgument, match=text):
        specification_of(document(containerEdits=edits))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["kind", "devices", "name", "containerEdits", "env", "cdiVersion"]), inner
            )
        ),
    )
)
def test_any_document_is_a_specification_or_an_error(value: object):
    with contextlib.suppress(InvalidArgument):
        specification_of(value)


def test_directories_have_ranks_and_bad_files_are_left_out(tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    (low / "a.json").write_text(json.dumps(document()))
    (low / "b.json").write_text("{")
    (low / "c.yaml").write_text("cdiVersion: 0.6.0\nkind: w.com/nic\nannotations: {x: true}\ndevices: [{name: n}]\n")
    (low / "d.yaml").write_text("a: &a [*a, *a]\n" + "[" * 5000)
    (low / "e.txt").write_text(json.dumps(document(kind="x.com/y")))
    known = CdiDirectories([str(low), str(high), str(tmp_path / "none")])
    assert list(known.known()) == ["v.com/gpu=one", "w.com/nic=n"]
    assert known.known()["w.com/nic=n"].annotations == {"x": True}
    (high / "a.json").write_text(json.dumps(document(containerEdits={"env": ["B=2"]})))
    assert known.edits(["v.com/gpu=one", "v.com/gpu=one"]).env == ("B=2", "A=1")
    (high / "again.json").write_text(json.dumps(document()))
    with pytest.raises(InvalidArgument, match=r"unresolvable CDI devices v.com/gpu=one, x.com/y=one"):
        known.edits(["v.com/gpu=one", "x.com/y=one"])
