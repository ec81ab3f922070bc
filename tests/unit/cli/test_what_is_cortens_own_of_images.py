"""`images --tree`, `image tree`, `image diff`, `image mount` and `image unmount`: what they ask, print and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fake_engine import Answer, FakeEngine
from tests.unit.cli.recording import CORTEN, client


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def descriptor(letter: str, size: int) -> dict[str, Any]:
    return {"mediaType": "x", "digest": digest(letter), "size": size}


def manifest(letter: str, architecture: str, size: int, *, here: bool = True, used: bool = False) -> dict[str, Any]:
    return {
        "ID": digest(letter),
        "Descriptor": descriptor(letter, 500),
        "Available": here,
        "Kind": "image",
        "Size": {"Content": size, "Total": 2 * size},
        "ImageData": {
            "Platform": {
                "os": "linux",
                "architecture": architecture,
                **({"variant": "v7"} if architecture == "arm" else {}),
            },
            "Containers": ["c"] if used else [],
        },
    }


IMAGES = [
    {
        "Id": digest("a"),
        "Created": 5,
        "Size": 4_000_000,
        "RepoTags": ["app:1", "app:latest"],
        "Manifests": [
            manifest("b", "amd64", 2_000_000, used=True),
            manifest("c", "arm", 0, here=False),
            {**manifest("d", "x", 100), "Kind": "attestation"},
        ],
    },
    {
        "Id": digest("e"),
        "Created": 9,
        "Size": 20,
        "RepoTags": [],
        "Manifests": [manifest("f", "arm64", 10, here=False)],
    },
]


def blob(letter: str, size: int, **more: Any) -> dict[str, Any]:
    return {"Descriptor": descriptor(letter, size), "Available": True, "DiffID": "", "UnpackedSize": -1, "SharedWith": [], **more}  # fmt: skip


TREE = {
    "Name": "app:1",
    "Id": digest("a"),
    "Root": {
        "Descriptor": descriptor("9", 1000),
        "Kind": "index",
        "Available": False,
        "Children": [
            {
                "Descriptor": descriptor("b", 500),
                "Kind": "image",
                "Platform": "linux/amd64",
                "Available": True,
                "Containers": ["c", "d"],
                "Config": blob("a", 400),
                "Layers": [
                    blob("1", 1_000_000, UnpackedSize=2_000_000, SharedWith=["x:1", "y:1", "z:1", "w:1"]),
                    blob("2", 10, Available=False),
                ],
                "Children": [],
            },
            {"Descriptor": descriptor("c", 500), "Kind": "image", "Platform": "linux/arm/v7", "Available": False},
            {"Descriptor": descriptor("d", 300), "Kind": "attestation", "About": digest("b"), "Available": True,
             "Config": blob("3", 5), "Layers": [blob("4", 6)]},
        ],
    },
}  # fmt: skip
SIDE = {"Id": digest("a"), "Size": 2_000_000, "Layers": 3}
DIFF = {
    "Old": {**SIDE, "Name": "app:1"},
    "New": {**SIDE, "Name": "app:2", "Layers": 2},
    "SharedLayers": 1,
    "Config": [{"Field": "config.Cmd", "Old": ["a"], "New": None}],
    "Files": [
        {"Path": "/new", "Kind": "A", "OldSize": 0, "NewSize": 1500, "What": []},
        {"Path": "/conf", "Kind": "C", "OldSize": 10, "NewSize": 20, "What": ["content", "mode"]},
        {"Path": "/touched", "Kind": "C", "OldSize": 5, "NewSize": 5, "What": ["time"]},
        {"Path": "/old", "Kind": "D", "OldSize": 7, "NewSize": 0, "What": []},
    ],
    "Cut": False,
}
MOUNTED = {"Target": "/mnt/app", "ImageID": digest("a"), "Image": "app:1"}


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    answers: dict[str, Answer] = {
        "GET /images/json": (200, IMAGES),
        "GET /corten/images/app:1/tree": (200, TREE),
        "GET /corten/images/diff": (200, DIFF),
        "GET /corten/images/mounts": (200, [MOUNTED]),
        "POST /corten/images/app:1/mount": (201, MOUNTED),
        "POST /corten/images/unmount": (200, [MOUNTED]),
    }
    made = FakeEngine(tmp_path / "s", dict(answers))
    yield made
    made.close()


def said(engine: FakeEngine, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = client(CORTEN, engine, list(arguments), folder)
    return done.returncode, done.stdout, done.stderr


def test_images_are_listed_with_their_platforms(engine: FakeEngine, tmp_path: Path) -> None:
    status, out, _ = said(engine, tmp_path, "images", "--tree", "--filter", "label=x")
    assert status == 0
    assert out == (
        "IMAGE                        ID             DISK USAGE   CONTENT SIZE   IN USE\n"
        "<none>                       eeeeeeeeeeee   20B          10B\n"
        "└─ linux/arm64 (in part)     ffffffffffff   20B          10B\n"
        "app:1\n"
        "app:latest                   aaaaaaaaaaaa   4MB          2MB            yes\n"
        "├─ linux/amd64               bbbbbbbbbbbb   4MB          2MB            yes\n"
        "└─ linux/arm/v7 (not here)   cccccccccccc   0B           0B\n"
    )
    (asked,) = engine.requests()
    assert asked.line() == 'GET /images/json?filters={"label":{"x":true}}&manifests=1'


@pytest.mark.parametrize("option", ["--quiet", "--digests", "--format=json"])
def test_a_tree_is_no_table_of_another_kind(engine: FakeEngine, tmp_path: Path, option: str) -> None:
    status, _, error = said(engine, tmp_path, "images", "--tree", option)
    assert (status, error) == (1, f"{option.partition('=')[0]} is not yet supported with --tree\n")


def test_a_tree_shows_what_is_here_what_is_shared_and_what_is_used(engine: FakeEngine, tmp_path: Path) -> None:
    status, out, _ = said(engine, tmp_path, "image", "tree", "app:1")
    assert status == 0
    assert out == (
        "app:1  index  999999999999  1kB  (in part)\n"
        "├─ linux/amd64  manifest  bbbbbbbbbbbb  500B  used by 2 containers\n"
        "│  ├─ config  aaaaaaaaaaaa  400B\n"
        "│  ├─ layer  111111111111  1MB  2MB unpacked  shared with x:1, y:1, z:1, 1 more\n"
        "│  └─ layer  222222222222  10B  (not here)\n"
        "├─ linux/arm/v7  manifest  cccccccccccc  500B  (not here)\n"
        "└─ attestation  dddddddddddd  300B  about bbbbbbbbbbbb\n"
        "   ├─ config  333333333333  5B\n"
        "   └─ blob  444444444444  6B\n"
    )
    assert digest("1") in said(engine, tmp_path, "image", "tree", "--no-trunc", "app:1")[1]
    assert said(engine, tmp_path, "image", "tree", "--format", "json", "app:1")[1].startswith('{"Name":"app:1",')


def test_a_difference_tells_layers_configuration_and_files(engine: FakeEngine, tmp_path: Path) -> None:
    status, out, _ = said(engine, tmp_path, "image", "diff", "app:1", "app:2")
    assert status == 0
    assert out == (
        "- app:1  2MB  1 shared layer and 2 of its own\n"
        "+ app:2  2MB  1 shared layer and 1 of its own\n"
        "\n"
        "Configuration:\n"
        '  config.Cmd: ["a"] -> none\n'
        "\n"
        "Files:\n"
        "A /new  (1.5kB)\n"
        "C /conf  (10B -> 20B, content, mode)\n"
        "D /old  (7B)\n"
        "\n"
        "1 added, 1 changed, 1 deleted, +1.5kB\n"
    )
    assert engine.requests()[0].line() == "GET /corten/images/diff?new=app:2&old=app:1"
    assert "C /touched  (time)\n" in said(engine, tmp_path, "image", "diff", "--times", "app:1", "app:2")[1]
    as_json = said(engine, tmp_path, "image", "diff", "--format=json", "app:1", "app:2")[1]
    assert '"Path":"/conf"' in as_json
    assert "/touched" not in as_json


def test_images_are_mounted_listed_and_unmounted(engine: FakeEngine, tmp_path: Path) -> None:
    assert said(engine, tmp_path, "image", "mount", "app:1", "here") == (0, "/mnt/app\n", "")
    assert said(engine, tmp_path, "image", "mount", "app:1") == (0, "/mnt/app\n", "")
    assert said(engine, tmp_path, "image", "mount")[1] == (
        "IMAGE     IMAGE ID       DIRECTORY\napp:1     aaaaaaaaaaaa   /mnt/app\n"
    )
    assert said(engine, tmp_path, "image", "unmount", "-f", "./here") == (0, "/mnt/app\n", "")
    assert said(engine, tmp_path, "image", "unmount", "app:1") == (0, "/mnt/app\n", "")
    bodies = [asked.json for asked in engine.requests() if asked.method == "POST"]
    assert bodies == [
        {"Target": f"{tmp_path}/here"},
        {"Target": ""},
        {"Target": f"{tmp_path}/here", "Force": True},
        {"Target": "app:1", "Force": False},
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["image", "diff", "a"], "'corten image diff' requires 2 arguments"),
        (["image", "tree", "--format", "{{.Id}}", "a"], 'unknown format "{{.Id}}": only "json" is offered'),
        (["image", "diff", "--format", "yaml", "a", "b"], 'unknown format "yaml": only "json" is offered'),
        (["image", "tree"], "'corten image tree' requires 1 argument"),
        (["image", "mount", "a", "b", "c"], "'corten image mount' requires at most 2 arguments"),
        (["image", "unmount"], "'corten image unmount' requires at least 1 argument"),
    ],
)
def test_wrong_words_are_told(engine: FakeEngine, tmp_path: Path, arguments: list[str], text: str) -> None:
    status, _, error = said(engine, tmp_path, *arguments)
    assert status == 1
    assert text in error
