"""Manifests, indexes, attestations and answers of exports, as readers of BuildKit's find them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from tests.unit.build.planned import Images, plan

from corten.build.attestations.material import Material, image_material, image_purl, without_password
from corten.build.attestations.provenance import Facts, provenance
from corten.build.attestations.statement import Predicate
from corten.build.attestations.wishes import ProvenanceWish
from corten.build.exporters.annotations import Annotations, parse_annotations
from corten.build.exporters.documents import Documents, ImageDocuments, documents, image_documents
from corten.build.exporters.request import image_name
from corten.build.exporters.responses import metadata, responses
from corten.build.exporters.result import PlatformImage
from corten.build.filesystem import FileSystem
from corten.build.outputs import Built
from corten.errors import InvalidArgument
from corten.spec import reference as references
from corten.spec.docker.lint import SourceFile
from corten.spec.oci_image import DOCKER_LAYER, OCI_LAYER_GZIP, Descriptor, Image, ImageConfig, RootFS

LAYER = Descriptor(media_type=f"{DOCKER_LAYER}.gzip", digest="sha256:" + "1" * 64, size=7)
SAID = Predicate(type="https://example.test/kind", document={"x": 1}, filename="x.json")


def one(architecture: str, annotations: dict[str, str] | None = None, *, oci_types: bool = True) -> ImageDocuments:
    image = Image(architecture=architecture, os="linux", rootfs=RootFS(diff_ids=["sha256:" + "2" * 64]))
    return image_documents(image, [LAYER], parse_annotations(annotations or {}), oci_types=oci_types)


def by_digest(found: Documents) -> dict[str, Any]:
    return {f"sha256:{hashlib.sha256(raw).hexdigest()}": json.loads(raw) for raw in found.blobs}


def test_one_image_is_its_manifest() -> None:
    found = documents([one("amd64", {"annotation.a": "b"})], [()], [], Annotations(), oci_types=True)
    assert not found.is_index
    assert (found.root.platform, found.root.annotations) == (None, None)
    manifest = by_digest(found)[found.root.digest]
    assert manifest["annotations"] == {"a": "b"}
    assert manifest["layers"] == [{"mediaType": OCI_LAYER_GZIP, "digest": LAYER.digest, "size": 7}]
    assert found.digests == [LAYER.digest, manifest["config"]["digest"], found.root.digest]


def test_dockers_types_are_used_on_demand() -> None:
    manifest = one("amd64", oci_types=False).manifest
    assert manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest.config.media_type == "application/vnd.docker.container.image.v1+json"
    assert manifest.layers[0].media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip"


def test_several_images_and_what_is_said_of_them_are_an_index() -> None:
    notes = parse_annotations({"annotation-index.i": "1"})
    images = [one("amd64"), one("arm64")]
    found = documents(images, [(SAID,), ()], [image_name("example.test:5000/x:1")], notes, oci_types=True)
    blobs = by_digest(found)
    index = blobs[found.root.digest]
    assert index["annotations"] == {"i": "1"}
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64", "unknown"]
    about = index["manifests"][-1]
    assert about["annotations"] == {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": index["manifests"][0]["digest"],
    }
    layer = blobs[about["digest"]]["layers"][0]
    assert layer["annotations"] == {"in-toto.io/predicate-type": SAID.type}
    assert blobs[layer["digest"]] == {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": SAID.type,
        "subject": [
            {
                "name": "pkg:docker/example.test:5000/x@1?platform=linux%2Famd64",
                "digest": {"sha256": index["manifests"][0]["digest"][7:]},
            }
        ],
        "predicate": {"x": 1},
    }
    assert set(blobs) <= set(found.digests)


def test_index_annotations_need_an_index() -> None:
    notes = parse_annotations({"annotation-index.i": "1"})
    with pytest.raises(InvalidArgument):
        documents([one("amd64")], [()], [], notes, oci_types=True)
    assert documents([one("amd64")], [()], [], notes, oci_types=True, always_index=True).is_index


def test_answers_are_buildkits() -> None:
    found = documents([one("amd64")], [()], [], Annotations(), oci_types=True)
    answer = responses(found, [image_name("x:1"), image_name("example.test/y")])
    assert answer["containerimage.digest"] == found.root.digest
    assert answer["containerimage.config.digest"] == found.images[0].id
    assert answer["image.name"] == "docker.io/library/x:1,example.test/y:latest"
    descriptor = json.loads(base64.b64decode(answer["containerimage.descriptor"]))
    assert descriptor["digest"] == found.root.digest
    assert descriptor["annotations"] == {"config.digest": found.images[0].id}
    several = documents([one("amd64"), one("arm64")], [(), ()], [], Annotations(), oci_types=True)
    assert set(responses(several, [])) == {"containerimage.digest", "containerimage.descriptor"}


def test_the_metadata_file_has_all_answers_and_the_provenance() -> None:
    found = documents([one("amd64")], [()], [], Annotations(), oci_types=True)
    built = Built(image=found.images[0].image, filesystem=FileSystem())
    said = Predicate(type="https://slsa.dev/provenance/v1", document={"p": 1}, filename="provenance.json")
    image = PlatformImage(built=built, predicates=(SAID, said))
    written = metadata([{}, responses(found, [image_name("x")])], [image])
    assert written["buildx.build.provenance"] == {"p": 1}
    assert written["containerimage.descriptor"]["digest"] == found.root.digest
    assert list(written) == sorted(written)
    assert list(metadata([], [image, image])) == ["buildx.build.provenance/linux/amd64"]


def test_materials_are_named_without_secrets() -> None:
    name = references.parse("busybox:1")
    assert image_purl(name, "linux/arm/v7") == "pkg:docker/busybox@1?platform=linux%2Farm%2Fv7"
    assert image_material(name, "", "sha256:12").digest == {"sha256": "12"}
    assert image_material(name, "", "").digest == {}
    assert without_password("https://user:secret@x.test/a?b#c") == "https://x.test/a?b#c"
    assert without_password("https://x.test:1/a") == "https://x.test:1/a"
    assert without_password("https://[secret@x") == ""


DOCKERFILE = "FROM base\nARG TOKEN\nRUN --network=none --mount=type=secret,id=key cat /run/secrets/key\nCOPY . /c\n"


def predicate(wish: ProvenanceWish, text: str = DOCKERFILE, materials: tuple[Material, ...] = ()) -> Any:
    facts = Facts(
        source=SourceFile(filename="Dockerfile", data=text.encode()),
        build_args={"TOKEN": "t0ken", "HTTPS_PROXY": "http://u:pa55@p", "FROM": "https://u:pa55@p/x"},
        labels={"l": "1", "from": "https://u:pa55@p/x"},
        context_uri="https://u:pa55@p/x.git",
        target="last",
        contexts=["other"],
        use_cache=False,
        builder_platform="linux/amd64",
        version="9",
        invocation="abc",
        started_ns=1_700_000_000_000_000_000,
        finished_ns=1_700_000_001_500_000_000,
    )
    made = plan(text, Images({"base": ImageConfig()}))
    return json.loads(json.dumps(provenance(wish, facts, made, "linux/arm64", materials).document))


def test_little_provenance_names_no_arguments_and_much_names_no_secrets() -> None:
    little, much = predicate(ProvenanceWish()), predicate(ProvenanceWish(mode="max"))
    request = little["buildDefinition"]["externalParameters"]["request"]
    assert request["args"] == {
        "context:other": "", "filename": "Dockerfile", "no-cache": "", "platform": "linux/arm64", "target": "last",
    }  # fmt: skip
    assert "t0ken" not in json.dumps(little)
    assert "buildkit_metadata" not in little["runDetails"]["metadata"]
    request = much["buildDefinition"]["externalParameters"]["request"]
    assert request["args"]["build-arg:TOKEN"] == "t0ken"
    assert request["args"]["label:l"] == "1"
    assert request["secrets"] == [{"id": "key"}]
    assert "pa55" not in json.dumps(much)
    steps = much["buildDefinition"]["internalParameters"]["buildConfig"]["steps"]
    assert {step["op"] for step in steps} == {"BaseImage", "Context", "Copy", "Run"}
    assert all(int(below[4:]) < number for number, step in enumerate(steps) for below in step["inputs"])
    source = much["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0]["data"]
    assert base64.b64decode(source).decode() == DOCKERFILE
    assert much["buildDefinition"]["externalParameters"]["configSource"]["uri"] == "https://p/x.git"
    assert request["args"]["label:from"] == request["args"]["build-arg:FROM"] == "https://xxxxx:xxxxx@p/x"


def test_the_dockerfile_in_provenance_has_no_passwords_of_urls() -> None:
    text = "FROM base\nADD https://u:pa55@h/x /\nRUN git clone https://t0ken@h/y \xff\n"
    much = json.dumps(predicate(ProvenanceWish(mode="max"), text))
    assert "pa55" not in much
    (data,) = re.findall(r'"data": "([^"]+)"', much)
    shown = base64.b64decode(data).decode()
    assert shown == text.replace("u:pa55@", "xxxxx:xxxxx@").replace("t0ken@", "xxxxx@")


def test_provenance_says_only_what_is_known() -> None:
    known = predicate(ProvenanceWish(reproducible=True), materials=(Material(uri="a", digest={"sha256": "1"}),))
    metadata_ = known["runDetails"]["metadata"]
    assert (metadata_["buildkit_hermetic"], metadata_["buildkit_reproducible"]) == (True, True)
    assert metadata_["buildkit_completeness"] == {"request": False, "resolvedDependencies": True}
    assert (metadata_["startedOn"], metadata_["finishedOn"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:13:21.5Z")
    guessed = predicate(ProvenanceWish(mode="max"), "FROM base\nRUN make\n", (Material(uri="http://u:p@x/"),))
    assert guessed["buildDefinition"]["resolvedDependencies"] == [{"uri": "http://x/"}]
    assert guessed["runDetails"]["metadata"]["buildkit_hermetic"] is False
    assert guessed["runDetails"]["metadata"]["buildkit_completeness"]["resolvedDependencies"] is False
    old = predicate(
        ProvenanceWish(version="v0.2", builder_id="me"), materials=(Material(uri="a", digest={"sha1": "1"}),)
    )
    assert old["builder"] == {"id": "me"}
    assert old["materials"] == [{"uri": "a", "digest": {"sha1": "1"}}]
    assert old["metadata"]["completeness"] == {"parameters": False, "environment": True, "materials": True}
