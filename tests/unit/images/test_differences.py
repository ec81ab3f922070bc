"""What two images differ in: layers laid upon each other come to what an unpacker makes of them, and paths are told."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.engine.images.catalog import ImageNotFound
from corten.engine.images.difference import config_changes, file_changes
from corten.engine.images.flatten import clean, lay
from corten.engine.images.insight import ImageInsight
from corten.errors import Cancelled, InvalidArgument
from corten.spec.oci_image import Image, ImageConfig
from corten.testing.indexes import make_index

from .conftest import body_of, collect

NAMES = st.sampled_from(["a", "b", "a/b", "a/c", "a/b/c", "b/a"])


def tar(*members):
    """A tar of (name, kind, content or link)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if kind == "dir":
                info.type = tarfile.DIRTYPE
            elif kind in ("link", "hard"):
                info.type = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE
                info.linkname = content
            else:
                info.size = len(content)
            out.addfile(info, io.BytesIO(content.encode()) if kind == "file" else None)
    return buffer.getvalue()


def flat(*layers):
    tree = {}
    for layer in layers:
        lay(tree, io.BytesIO(layer), lambda: None)
    return tree


def told(old, new):
    return [(c.kind, c.path, c.what) for c in file_changes(flat(*old), flat(*new))]


def test_added_changed_and_deleted_paths_are_told_with_what_differs():
    base = tar(("etc", "dir", ""), ("etc/a", "file", "1"), ("etc/b", "file", "2"), ("l", "link", "etc/a"))
    upper = tar(("etc/a", "file", "11"), ("etc/.wh.b", "file", ""), ("n", "file", "x"), ("l", "link", "etc/n"))
    assert told([base], [base, upper]) == [
        ("C", "/etc/a", ["content"]),
        ("D", "/etc/b", []),
        ("C", "/l", ["link"]),
        ("A", "/n", []),
    ]
    assert told([base], [base]) == []


def test_an_opaque_directory_hides_what_lies_below_and_not_what_its_layer_brings():
    base = tar(("d", "dir", ""), ("d/old", "file", "1"), ("d/deep/er", "file", "2"), ("dd", "file", "3"))
    upper = tar(("d/new", "file", "4"), ("d", "dir", ""), ("d/.wh..wh..opq", "file", ""))
    assert set(flat(base, upper)) == {b"d", b"d/new", b"dd"}


def test_a_whiteout_takes_a_whole_directory_and_never_what_comes_with_it():
    base = tar(("d", "dir", ""), ("d/a", "file", "1"))
    assert set(flat(base, tar((".wh.d", "file", "")))) == set()
    assert set(flat(base, tar(("d", "file", "now a file"), (".wh.d", "file", "")))) == {b"d"}


def test_a_file_in_a_directorys_place_hides_what_was_in_it():
    base = tar(("d", "dir", ""), ("d/a", "file", "1"))
    assert set(flat(base, tar(("d", "link", "/elsewhere")))) == {b"d"}


def test_a_hard_link_is_the_file_it_names():
    one = flat(tar(("a", "file", "x"), ("b", "hard", "a")))
    assert one[b"b"].digest == one[b"a"].digest
    assert flat(tar(("a", "file", "x")), tar(("b", "hard", "./a")))[b"b"].size == 1


@pytest.mark.parametrize(
    ("name", "path"), [(b"./a//b/", b"a/b"), (b"/a", b"a"), (b"../../a", b"a"), (b"a/../../b", b"b"), (b"./", b"")]
)
def test_names_stay_below_the_root(name, path):
    assert clean(name) == path


@st.composite
def layers(draw):
    """Layers whose names do not contradict each other inside one layer."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        members = {}
        for name in draw(st.lists(NAMES, max_size=4, unique=True)):
            parts = name.split("/")
            for depth in range(1, len(parts)):
                members["/".join(parts[:depth])] = ("dir", "")
            if members.get(name) is None:
                kind = draw(st.sampled_from(["file", "dir", "gone"]))
                members[name] = (kind, draw(st.sampled_from(["1", "22"])) if kind == "file" else "")
        found.append(members)
    return found


@settings(max_examples=150, deadline=None)
@given(layers())
def test_layers_come_to_what_unpacking_one_after_the_other_makes(stack):
    model = {}

    def drop(path, *, itself):
        for name in [n for n in model if n.startswith(path + "/") or (itself and n == path)]:
            del model[name]

    tars = []
    for members in stack:
        # a name with something below it in the same layer is a directory, whatever was drawn for it
        plain = {
            n: (k, c) if not any(m.startswith(n + "/") for m in members) else ("dir", "")
            for n, (k, c) in members.items()
        }
        for name, (kind, _) in plain.items():
            if kind == "gone":
                drop(name, itself=True)
        for name, (kind, content) in plain.items():
            if kind == "file":
                drop(name, itself=False)
            if kind != "gone":
                model[name] = (kind, content)
        tars.append(
            tar(
                *(
                    ("/".join([*name.split("/")[:-1], ".wh." + name.split("/")[-1]]), "file", "")
                    if kind == "gone"
                    else (name, kind, content)
                    for name, (kind, content) in plain.items()
                )
            )
        )
    tree = flat(*tars)
    assert {n.decode(): (f.kind == "directory", f.size) for n, f in tree.items()} == {
        n: (kind == "dir", len(content)) for n, (kind, content) in model.items()
    }


def test_fields_of_the_configuration_are_told_one_by_one():
    old = Image(architecture="amd64", os="linux", config=ImageConfig(cmd=["a"], labels={"x": "1"}))
    new = Image(architecture="amd64", os="linux", author="me", config=ImageConfig(cmd=["a"], user="u"))
    assert [(c.field, c.old, c.new) for c in config_changes(old, new)] == [
        ("author", None, "me"),
        ("config.Labels", {"x": "1"}, None),
        ("config.User", None, "u"),
    ]


@pytest.fixture
async def insight(engine):
    one = make_index({"linux/amd64": [{"base": b"1"}, {"who": b"one"}]})
    two = make_index({"linux/amd64": [{"base": b"1"}, {"who": b"two!"}, {"more": b"m"}]}, compression="zstd")
    for number, made in enumerate((one, two)):
        await collect(engine.transfer.load(body_of(made.layout(f"docker.io/library/x:{number}"))))
    engine.made = (one, two)
    return ImageInsight(library=engine.library, containers=engine.containers)


async def test_two_images_are_compared_whatever_their_compression(insight):
    answer = await insight.diff("x:0", "x:1")
    assert (answer.shared_layers, answer.old.layers, answer.new.layers) == (1, 2, 3)
    assert [(f.kind, f.path, f.old_size, f.new_size, f.what) for f in answer.files] == [
        ("A", "/more", 0, 1, []),
        ("C", "/who", 3, 4, ["content"]),
    ]
    assert not answer.cut
    assert (await insight.diff("x:0", "x:0")).files == []
    with pytest.raises(ImageNotFound, match="No such image: nope:latest"):
        await insight.diff("x:0", "nope")


async def test_a_comparison_ends_when_nobody_waits_for_it(engine, insight):
    def gone():
        raise Cancelled("gone")

    with pytest.raises(Cancelled):
        lay({}, io.BytesIO(tar(("a", "file", "x"))), gone)


def test_more_files_than_can_be_compared_are_refused(monkeypatch):
    monkeypatch.setattr("corten.engine.images.flatten._ENTRIES_LIMIT", 2)
    with pytest.raises(InvalidArgument, match="more than 2 files: too many to compare"):
        flat(tar(("a", "file", ""), ("b", "file", "")), tar(("c", "file", "")))


async def test_a_tree_tells_platforms_layers_attestations_and_what_is_shared(engine, insight):
    answer = await insight.tree("x:0")
    made = engine.made[0]
    root = answer.root
    assert (answer.name, root.kind, root.descriptor.digest) == ("x:0", "index", made.digest)
    image, proof = root.children
    assert (image.kind, image.platform, image.image_id) == ("image", "linux/amd64", made.image_id("linux/amd64"))
    assert [layer.unpacked_size >= 0 for layer in image.layers] == [True, True]
    assert [layer.shared_with for layer in image.layers] == [[], []]
    assert (proof.kind, proof.about) == ("attestation", image.descriptor.digest)
    assert all(node.available for node in (root, image, proof))
    await collect(
        engine.transfer.load(body_of(make_index({"linux/amd64": [{"base": b"1"}]}).layout("docker.io/library/y:1")))
    )
    shared = (await insight.tree("x:0")).root.children[0].layers
    assert [layer.shared_with for layer in shared] == [["y:1"], []]
