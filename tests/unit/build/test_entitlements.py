"""What a build may do: both the client and the daemon have to say so, and a name of a device means what BuildKit's does."""

from __future__ import annotations

import pytest

from corten.build.dockerfile.error import DockerfileError
from corten.build.entitlements import DEFAULTS, DeviceInfo, check, chosen, granted
from corten.build.graph import Vertex
from corten.build.operations import Device, Run, Scratch
from corten.errors import Forbidden, InvalidArgument

DEVICES = {
    "v.com/gpu=a": DeviceInfo(is_free=True),
    "v.com/gpu=b": DeviceInfo(label="big"),
    "v.com/gpu=c": DeviceInfo(label="big"),
    "v.com/nic=a": DeviceInfo(),
}


def run(**fields: object) -> Vertex:
    return Vertex(Run(args=("x",), **fields), (Vertex(Scratch()),), lines=(3, 4))  # type: ignore[arg-type]


def test_what_the_daemon_does_not_allow_cannot_be_asked_for():
    with pytest.raises(Forbidden, match=r"^granting entitlement security.insecure is not allowed by build daemon con"):
        granted(["security.insecure"], DEFAULTS)
    for text in ("root", "network.host=1", "device=x", ""):
        with pytest.raises(InvalidArgument):
            granted([text], DEFAULTS)


@pytest.mark.parametrize(
    ("vertex", "needed"),
    [
        (run(network="host"), "network.host"),
        (run(security="insecure"), "security.insecure"),
    ],
)
def test_a_step_needs_what_its_client_did_not_ask_for(vertex: Vertex, needed: str):
    supported = frozenset({"network.host", "security.insecure", "device"})
    others = supported - {needed}
    with pytest.raises(DockerfileError, match=f"^{needed} is not allowed$") as caught:
        check(vertex, granted(others, supported), {})
    assert caught.value.lines == (3, 4)
    check(vertex, granted([needed], supported), {})


def test_steps_below_the_target_count_too():
    top = Vertex(Run(args=("y",)), (run(network="host"),))
    with pytest.raises(DockerfileError):
        check(top, granted([], DEFAULTS), {})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("v.com/gpu", ["v.com/gpu=a"]),
        ("v.com/gpu=*", ["v.com/gpu=a", "v.com/gpu=b", "v.com/gpu=c"]),
        ("v.com/gpu=b", ["v.com/gpu=b"]),
        ("v.com/gpu=big", ["v.com/gpu=b", "v.com/gpu=c"]),
        ("v.com/nic=big", []),
        ("other", []),
    ],
)
def test_a_name_means_one_device_a_kind_or_a_class(name: str, found: list[str]):
    assert chosen(Device(name=name), DEVICES) == found


@pytest.mark.parametrize(
    ("asked", "device", "refused"),
    [
        ([], "v.com/gpu=a", False),
        ([], "v.com/gpu=b", True),
        (["device"], "v.com/gpu=b", False),
        (["device=v.com/gpu"], "v.com/gpu=b", False),
        (["device=v.com/gpu=c"], "v.com/gpu=b", True),
        (["device=v.com/gpu=c", "device"], "v.com/nic=a", False),
        (["network.host"], "v.com/nic=a", True),
        ([], "v.com/gpu=*", True),
    ],
)
def test_a_device_needs_the_clients_word_or_its_vendors(asked: list[str], device: str, refused: bool):
    vertex = run(devices=(Device(name=device, required=True),))
    if not refused:
        check(vertex, granted(asked, DEFAULTS), DEVICES)
        return
    with pytest.raises(DockerfileError, match="is requested by the build but not allowed"):
        check(vertex, granted(asked, DEFAULTS), DEVICES)


def test_only_a_required_device_must_be_there():
    check(run(devices=(Device(name="v.com/none=1"),)), granted([], DEFAULTS), DEVICES)
    with pytest.raises(DockerfileError, match=r'required device "v.com/none=1" is not registered'):
        check(run(devices=(Device(name="v.com/none=1", required=True),)), granted([], DEFAULTS), DEVICES)
