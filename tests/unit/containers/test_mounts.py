"""`-v`, `--mount`, `--tmpfs` and volumes-from, with Docker's rules and texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.mounts import (
    InvalidMount,
    inherited,
    parse_bind,
    parse_mount,
    parse_tmpfs,
    parse_volumes_from,
    plan_mounts,
)
from corten.engine.containers.record import MountRecord
from corten.lib import codec
from corten.spec.docker.hostconfig import Mount


def mount(**fields: object) -> Mount:
    return codec.from_plain(Mount, fields)


def test_a_host_directory():
    found = parse_bind("/host/x/../y:/in//side/:ro,rslave")
    assert (found.type, found.source, found.destination) == ("bind", "/host/y", "/in/side")
    assert (found.read_only, found.propagation, found.mode) == (True, "rslave", "ro,rslave")
    assert found.must_exist is False


def test_a_named_and_an_anonymous_volume():
    named = parse_bind("data:/data")
    assert (named.type, named.name, named.copy_up, named.anonymous, named.mode) == ("volume", "data", True, False, "z")
    assert parse_bind("data:/data:nocopy").copy_up is False
    assert parse_bind("/only/destination").anonymous is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid volume specification: ''"),
        (":/x", "invalid volume specification: ':/x'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:bogus", "invalid mode: bogus"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:nocopy", "invalid mode: nocopy"),
        ("v:/b:rshared", "invalid mode: rshared"),
        (
            "/a:relative",
            (
                "invalid volume specification: '/a:relative': invalid mount config for type \"bind\": "
                "invalid mount path: 'relative' mount path must be absolute"
            ),
        ),
        (
            "/a:/",
            (
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": "
                "invalid specification: destination can't be '/'"
            ),
        ),
        (
            "./x:/y",
            (
                'create ./x: "./x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
                "are allowed. If you intended to pass a host directory, use absolute path"
            ),
        ),
    ],
)
def test_what_v_refuses(text, message):
    with pytest.raises(InvalidMount) as caught:
        parse_bind(text)
    assert caught.value.message == message


@given(st.text(alphabet="/:.abrow,\0 ~é\n", max_size=40))
def test_any_text_is_a_mount_below_the_root_or_refused(text):
    try:
        found = parse_bind(text)
    except InvalidMount:
        return
    assert found.destination.startswith("/")
    assert found.destination != "/"
    assert ".." not in found.destination.split("/")
    assert found.type == "volume" or found.source.startswith("/")


def test_mount_of_type_bind():
    found = parse_mount(
        mount(
            Type="bind",
            Source="/s",
            Target="/t",
            ReadOnly=True,
            BindOptions={"NonRecursive": True, "Propagation": "shared"},
        )
    )
    assert (found.recursive, found.propagation, found.must_exist, found.read_only) == (False, "shared", True, True)
    assert (
        parse_mount(mount(Type="bind", Source="/s", Target="/t", BindOptions={"CreateMountpoint": True})).must_exist
        is False
    )


def test_mount_of_type_tmpfs():
    found = parse_mount(mount(Type="tmpfs", Target="/t", TmpfsOptions={"SizeBytes": 1024, "Mode": 0o1770}))
    assert found.options == ("noexec", "nosuid", "nodev", "rw", "mode=1770", "size=1024")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Type": "bind", "Source": "/s"}, 'invalid mount config for type "bind": field Target must not be empty'),
        ({"Type": "bind", "Target": "/t"}, 'invalid mount config for type "bind": field Source must not be empty'),
        (
            {"Type": "bind", "Target": "/t", "Source": "s"},
            "invalid mount config for type \"bind\": invalid mount path: 's' mount path must be absolute",
        ),
        ({"Type": "x", "Target": "/t"}, 'invalid mount config for type "x": mount type unknown'),
        (
            {"Type": "volume", "Target": "/t", "BindOptions": {"NonRecursive": True}},
            'invalid mount config for type "volume": field BindOptions must not be specified',
        ),
        (
            {"Type": "tmpfs", "Target": "/t", "Source": "x"},
            'invalid mount config for type "tmpfs": field Source must not be specified',
        ),
        (
            {"Type": "bind", "Target": "/t", "Source": "/s", "BindOptions": {"Propagation": "odd"}},
            'invalid mount config for type "bind": invalid propagation mode: odd',
        ),
    ],
)
def test_what_mount_refuses(fields, message):
    with pytest.raises(InvalidMount) as caught:
        parse_mount(mount(**fields))
    assert caught.value.message == message


def test_tmpfs_flag():
    assert parse_tmpfs("/run", "rw,size=64m,exec").options == ("noexec", "nosuid", "nodev", "rw", "size=64m", "exec")
    assert parse_tmpfs("/run", "").options == ("noexec", "nosuid", "nodev")
    with pytest.raises(InvalidMount, match='invalid tmpfs option "bogus"'):
        parse_tmpfs("/run", "bogus")


def test_volumes_from():
    assert parse_volumes_from("c") == ("c", "rw")
    assert parse_volumes_from("c:ro") == ("c", "ro")
    with pytest.raises(InvalidMount, match="invalid mode: odd"):
        parse_volumes_from("c:odd")
    taken = inherited(
        [
            MountRecord(type="volume", name="v", destination="/v", anonymous=True, copy_up=True),
            MountRecord(type="tmpfs", destination="/t"),
        ],
        "ro",
    )
    assert [(m.destination, m.read_only, m.anonymous, m.copy_up) for m in taken] == [("/v", True, False, False)]


def plan(**changes):
    return plan_mounts(**{"binds": [], "mounts": [], "tmpfs": {}, "image_volumes": [], **changes})


def test_a_destination_given_twice_is_refused():
    with pytest.raises(InvalidMount, match="Duplicate mount point: /x"):
        plan(binds=["/a:/x", "/b:/x/"])
    with pytest.raises(InvalidMount, match="Duplicate mount point: /x"):
        plan(binds=["/a:/x"], tmpfs={"/x": ""})


def test_what_gives_way_to_what():
    taken = [
        MountRecord(type="volume", name="old", destination="/x"),
        MountRecord(type="volume", name="o", destination="/y"),
    ]
    found = {m.destination: m for m in plan(binds=["/a:/x"], image_volumes=["/x", "/y", "/z"], taken_over=taken)}
    assert found["/x"].type == "bind"
    assert found["/y"].name == "o"
    assert found["/z"].anonymous is True
