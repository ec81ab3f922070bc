from __future__ import annotations

import pytest

from corten.runtime.mappings import mapping_text
from corten.runtime.process import parse_cpus
from corten.runtime.steps.cgroups import parse_memberships
from corten.runtime.steps.rootfs import overlay_options


def test_mappings_are_written_as_the_kernel_reads_them() -> None:
    mappings = [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 1000, "hostID": 5, "size": 1}]
    assert mapping_text(mappings) == "0 100000 1000\n1000 5 1\n"


@pytest.mark.parametrize(
    "entry", [{"containerID": -1, "hostID": 0, "size": 1}, {"containerID": 0, "hostID": 1 << 32, "size": 1}]
)
def test_ids_out_of_range_are_refused(entry: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="invalid id mapping"):
        mapping_text([entry])


def test_more_extents_than_the_kernel_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="341 id mappings"):
        mapping_text([{"containerID": 0, "hostID": 0, "size": 1}] * 341)


def test_overlay_options_are_relative_and_switch_layer_attributes_off() -> None:
    rootfs = {"dir": "/d", "lower": ["2/fs", "1/fs"], "upper": "3/fs", "work": "3/work"}
    expected = "lowerdir=2/fs:1/fs,upperdir=3/fs,workdir=3/work,index=off,metacopy=off,redirect_dir=nofollow"
    assert overlay_options(rootfs) == expected
    assert overlay_options({"dir": "/d", "lower": ["2", "1"]}).startswith("lowerdir=2:1,index=off")
    assert overlay_options({**rootfs, "options": ["volatile"]}).endswith(",volatile")


@pytest.mark.parametrize("path", ["a:b", "a,b", "a\\b", "a\0b"])
def test_overlay_paths_that_options_cannot_carry_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot carry"):
        overlay_options({"dir": "/d", "lower": [path]})


def test_too_many_layers_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="5000 layers"):
        overlay_options({"dir": "/d", "lower": ["x"] * 5000})


def test_memberships_by_hierarchy() -> None:
    text = "12:cpu,cpuacct:/a/b:c\n1:name=systemd:/\n0::/x\n"
    assert parse_memberships(text) == {"cpu,cpuacct": "/a/b:c", "name=systemd": "/", "": "/x"}


@pytest.mark.parametrize(("text", "cpus"), [("0", {0}), ("0-2,7", {0, 1, 2, 7}), ("3, 5", {3, 5})])
def test_lists_of_cpus(text: str, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "0-99999999"])
def test_lists_of_cpus_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"CPU list|invalid literal"):
        parse_cpus(text)
