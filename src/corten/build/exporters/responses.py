"""What an exporter answers, in BuildKit's words (ExporterResponse): for --metadata-file and --iidfile. Pure; daemon."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from corten.build.attestations.provenance import SLSA_02, SLSA_1
from corten.build.exporters.documents import Documents
from corten.build.exporters.result import PlatformImage
from corten.lib import codec
from corten.spec.reference import Reference

DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
DESCRIPTOR = "containerimage.descriptor"
NAME = "image.name"
IMAGE_ID = "corten.image.id"  # of the image that an index of several is in this engine
PROVENANCE = "buildx.build.provenance"


def responses(found: Documents, names: Sequence[Reference]) -> dict[str, str]:
    """Of an image; the configuration's digest only where there is one."""
    root = found.root
    if not found.is_index:
        root = msgspec.structs.replace(root, annotations={"config.digest": found.images[0].id})
    answer = {DIGEST: root.digest, DESCRIPTOR: base64.b64encode(codec.encode(root)).decode("ascii")}
    if not found.is_index or len(found.images) == 1:
        answer[CONFIG_DIGEST] = found.images[0].id
    if names:
        answer[NAME] = ",".join(str(name) for name in names)
    return answer


def metadata(answers: Sequence[Mapping[str, str]], images: Sequence[PlatformImage]) -> dict[str, Any]:
    """What buildx writes with --metadata-file: all answers, the descriptor as an object, and the provenance."""
    found: dict[str, Any] = {}
    for answer in answers:
        found |= {name: value for name, value in answer.items() if name != IMAGE_ID}
    if DESCRIPTOR in found:
        found[DESCRIPTOR] = msgspec.json.decode(base64.b64decode(found[DESCRIPTOR]))
    for image in images:
        for predicate in image.predicates:
            if predicate.type in (SLSA_1, SLSA_02):
                key = PROVENANCE if len(images) == 1 else f"{PROVENANCE}/{image.platform}"
                found[key] = predicate.document
    return dict(sorted(found.items()))
