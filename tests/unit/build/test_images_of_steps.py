"""The document of an image: history, times and layers, as they follow from steps and results."""

from __future__ import annotations

import pytest

from corten.build.export import image_id, image_of, steps_of, time_text, up_to
from corten.build.filesystem import FileSystem, Layer
from corten.build.graph import Vertex
from corten.build.operations import BaseImage, Run
from corten.build.ops.store import LayerStore
from corten.build.plan import Base, Stage, Step
from corten.engine.images.progress import Progress
from corten.errors import InvalidArgument
from corten.spec.oci_image import Descriptor, History, Image, ImageConfig, RootFS

OLD, FIRST, SECOND = "2020-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def layer(number: int, key: str = "", created: str = "") -> Layer:
    digest = f"sha256:{number:064x}"
    return Layer(blob=Descriptor(media_type="x", digest=digest, size=1), diff_id=digest, key=key, created=created)


BASE = Base(
    image_id="sha256:b",
    image=Image(
        architecture="arm64",
        os="linux",
        created=OLD,
        rootfs=RootFS(diff_ids=[layer(1).diff_id]),
        history=[History(created=OLD, created_by="base")],
    ),
)
ROOT = Vertex(BaseImage(image_id="sha256:b"))
ONE, TWO, NOTHING = (Vertex(Run(args=(text,)), (ROOT,)) for text in ("one", "two", "true"))


def step(vertex: Vertex, created_by: str, *, files: bool = False) -> Step:
    return Step(
        text="", lines=(1, 1), vertex=vertex, config=ImageConfig(cmd=[created_by]), created_by=created_by,
        changes_files=files,
    )  # fmt: skip


def key_of(vertex: Vertex) -> str:
    return vertex.digest


STEPS = (
    step(ROOT, ""), step(ROOT, "ENV A=b"), step(ONE, "RUN one", files=True), step(NOTHING, "RUN true", files=True),
    step(NOTHING, "USER x"), step(TWO, "RUN two", files=True),
)  # fmt: skip
STAGE = Stage(index=0, name="", platform="", base=BASE, steps=STEPS)
WHOLE = FileSystem(layers=(layer(1), layer(2, ONE.digest, FIRST), layer(3, TWO.digest, SECOND)))


def image(filesystem: FileSystem = WHOLE, steps: tuple[Step, ...] = STEPS, created: str = "") -> Image:
    return image_of(STAGE, steps, BASE, filesystem, key_of, created=created)


def test_steps_without_a_layer_are_empty_and_have_the_time_of_a_neighbour():
    found = [(entry.created_by, entry.empty_layer, entry.created) for entry in image().history or []]
    assert found == [
        ("base", False, OLD),
        ("ENV A=b", True, FIRST),
        ("RUN one", False, FIRST),
        ("RUN true", True, FIRST),
        ("USER x", True, FIRST),
        ("RUN two", False, SECOND),
    ]
    assert image().created == SECOND
    assert len(image().diff_ids) == 3
    assert image().architecture == "arm64"


def test_steps_upon_an_image_alone_have_its_time():
    built = image(FileSystem(layers=(layer(1),)), STEPS[:2])
    assert [entry.created for entry in built.history or []] == [OLD, OLD]


def test_source_date_epoch_is_the_time_of_every_new_step():
    built = image(created=time_text(0))
    assert [entry.created for entry in built.history or []] == [OLD, *["1970-01-01T00:00:00Z"] * 5]
    assert built.created == "1970-01-01T00:00:00Z"


def test_what_a_step_amounts_to_follows_from_a_later_ones_layers():
    after_one = up_to(WHOLE, BASE, STEPS[:4], key_of)
    assert [entry.diff_id for entry in after_one.layers] == [layer(1).diff_id, layer(2).diff_id]
    assert image_id(image(after_one, STEPS[:4])) != image_id(image())


def test_the_steps_of_a_stage_upon_a_stage_are_those_of_both():
    above = Stage(index=1, name="", platform="", base=STAGE, steps=(step(TWO, ""), step(TWO, "CMD x")))
    base, steps = steps_of(above)
    assert base is BASE
    assert [entry.created_by for entry in steps if entry.created_by] == [
        "ENV A=b", "RUN one", "RUN true", "USER x", "RUN two", "CMD x",
    ]  # fmt: skip


async def test_an_image_has_as_many_layers_as_docker_takes():
    store = LayerStore(assembler=None, snapshots=None, lease=None, now_ns=lambda: 0, progress=Progress())  # type: ignore[arg-type]
    full = FileSystem(layers=tuple(layer(number) for number in range(125)))
    with pytest.raises(InvalidArgument, match="max depth exceeded"):
        await store.add(full, lambda _writer: None)
