"""What an exporter answers, in BuildKit's words (ExporterResponse): for --metadata-file and --iidfile. Pure; daemon."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from corten.build.exporters.documents import Documents
from corten.lib import codec
from corten.spec.reference import Reference

DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
DESCRIPTOR = "containerimage.descriptor"
NAME = "image.name"


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
