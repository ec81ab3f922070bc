"""What this engine tells clients of its builder: worker, version, and what the gateway can do. Pure; daemon.

The lists are what buildx decides by: nothing stands in them that is not done here. Sources: BuildKit's util/apicaps,
frontend/gateway/pb/caps.go, solver/pb/caps.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from corten import __version__
from corten.build.buildkit.messages.control import BuildkitVersion, GCPolicy, WorkerRecord
from corten.build.buildkit.messages.gateway import APICap
from corten.build.buildkit.messages.types import Platform
from corten.spec import platform as platforms

WorkerNow = Callable[[], Awaitable[WorkerRecord]]  # emulators of other platforms come and go

_AS_GOOD_AS = "v0.17.0"  # of BuildKit: clients compare it
_LABELS = "org.mobyproject.buildkit.worker."
_FRONTEND = (
    "frontend.caps", "frontend.inputs", "gateway.evaluate", "gateway.solve.evaluate", "gateway.solve.metadata",
    "gateway.warnings", "importcaches", "proto.refarray", "readdir", "readfile", "reference.output",
    "resolveimage", "resolveimage.resolvemode", "return", "returnmap", "solve.base",
    "solve.inlinereturn", "source.metaresolver", "statfile",
)  # fmt: skip
_LLB = (
    "constraints", "exec.meta.base", "exec.meta.network", "exec.meta.proxyenv", "exec.meta.ulimit",
    "exec.meta.setsdefaultpath", "exec.mount.bind", "exec.mount.cache", "exec.mount.cache.sharing",
    "exec.mount.secret", "exec.mount.ssh", "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.secretenv",
    "exporter.image.annotations", "exporter.image.attestations", "exporter.multiple", "exporter.sourcedateepoch",
    "file.base", "meta.description", "platform", "source.image", "source.local", "source.local.sharedkeyhint",
)  # fmt: skip


def version() -> BuildkitVersion:
    """Which BuildKit this is as good as, and what it is."""
    return BuildkitVersion(
        package="github.com/moby/buildkit", version=f"{_AS_GOOD_AS}-corten", revision=f"corten-{__version__}"
    )


def caps() -> tuple[list[APICap], list[APICap]]:
    """What the gateway does, and what graphs may ask for."""
    return [_cap(name) for name in _FRONTEND], [_cap(name) for name in _LLB]


def _cap(name: str) -> APICap:
    return APICap(id=name, enabled=True)


def worker(worker_id: str, gateway_ip: str, own: Sequence[str], limit_bytes: int) -> WorkerRecord:
    """The one worker. `gateway_ip` is what `host-gateway` stands for; `own` are the platforms that run here."""
    labels = {f"{_LABELS}executor": "corten", f"{_LABELS}hostname": "", f"{_LABELS}network": "bridge"}
    labels[f"{_LABELS}snapshotter"] = "erofs"  # that there is one tells of all kinds of outputs, and several platforms
    if gateway_ip:
        labels[f"{_LABELS}moby.host-gateway-ip"] = gateway_ip
    return WorkerRecord(
        id=worker_id,
        labels={name: value for name, value in labels.items() if value},
        platforms=[_platform(text) for text in own],
        gc_policy=[GCPolicy(all=True, max_used_space=limit_bytes)],
        version=version(),
    )


def _platform(text: str) -> Platform:
    found = platforms.parse(text)
    return Platform(architecture=found.architecture, os=found.os, variant=found.variant)
