"""What a buildx client asks, in the words of BuildKit's Dockerfile frontend, as a build's options. Pure; daemon.

Words that are not known are passed over, as BuildKit does; those that ask for what is not done here are refused.
Source: BuildKit's frontend/dockerui (FrontendAttrs), measured with buildx 0.13 and 0.29.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corten.build.attestations.wishes import parse_attests
from corten.build.buildkit.messages.control import SolveRequest
from corten.build.buildkit.messages.types import Attributed
from corten.build.caching.options import CacheImport, parse_imports, with_inline
from corten.build.caching.options import parse_export as parse_cache
from corten.build.calls.results import CALLS
from corten.build.exporters.request import ArchiveExport, CacheOnly, Export, ImageExport, parse_exports
from corten.build.options import BuildOptions
from corten.build.session.source import UPLOADED, SessionFiles
from corten.errors import InvalidArgument
from corten.errors import NotImplemented as NotOffered
from corten.lib import codec
from corten.spec.docker.hostconfig import HostConfig, Ulimit

_LOCAL = "local:"
_NETWORKS = ("", "default", "none", "host", "sandbox")
_UNLOADED = ("load",)  # compose says it of images, which are here then in any case
_SIZE_LIMIT = 1 << 62
CALL = "frontend."
LINT = "frontend.lint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A build: its options, and where the client has its files. `call` is a subrequest: an answer about the Dockerfile
    instead of a build. `sends_dockerfile`: it is the client's, and not that of a context that is elsewhere."""

    options: BuildOptions
    files: SessionFiles
    call: str = ""
    sends_dockerfile: bool = False


def exports_of(request: SolveRequest) -> tuple[Export, ...]:
    """Where the result goes. Raises InvalidArgument, InvalidReference."""
    exporters = request.exporters
    if not exporters and request.old_exporter:
        exporters = [Attributed(type=request.old_exporter, attrs=request.old_exporter_attrs)]
    entries = [(one.type, {k: v for k, v in one.attrs.items() if k not in _UNLOADED}) for one in exporters]
    return parse_exports(entries) or (CacheOnly(),)


def asked(attributes: Mapping[str, str], request: SolveRequest) -> Asked:
    """The build of one Dockerfile. Raises InvalidArgument; NotImplemented for what is not done here."""
    call = attributes.get("requestid", "")
    contexts = dict(_prefixed(attributes, "context:"))
    exports = exports_of(request)
    caches = request.cache.exports if request.cache is not None else []
    build_args = dict(_prefixed(attributes, "build-arg:"))
    options = BuildOptions(
        dockerfile=attributes.get("filename", ""),
        remote=_remote(attributes),
        use_cache=attributes.get("no-cache") != "",
        no_cache_stages=tuple(_fields(attributes.get("no-cache", ""))),
        pull=attributes.get("image-resolve-mode", "") == "pull",
        remove=True,
        remove_failed=True,
        build_args=build_args,
        cache_from=_imports(attributes.get("cache-imports", "")),
        cache_to=with_inline([parse_cache(one.type, one.attrs) for one in caches], build_args),
        labels=dict(_prefixed(attributes, "label:")),
        contexts=contexts,
        target=attributes.get("target", ""),
        is_check=call == LINT,
        call=call.removeprefix(CALL) if call.removeprefix(CALL) in CALLS else "",
        exports=exports,
        attests=parse_attests(_attests(attributes, exports)),
        platform=attributes.get("platform", ""),
        allow=tuple(request.entitlements),
        host=_host(attributes),
    )
    _refuse(attributes)
    return Asked(
        options=options,
        files=_files(attributes, contexts),
        call=call,
        sends_dockerfile=bool(attributes.get("dockerfilekey")),
    )


def _imports(text: str) -> tuple[CacheImport, ...]:
    """A JSON list of BuildKit's CacheOptionsEntry. Raises InvalidArgument; NotImplemented for unknown types."""
    return parse_imports(codec.decode(list[Any], text.encode()) if text else [])


def _attests(attributes: Mapping[str, str], exports: Sequence[Export]) -> dict[str, str | None]:
    """What is to be said of the result. `inline-only` comes from clients that were not told to ask: that counts for
    what leaves this engine with its documents alone, since an image here would be another one in each build."""
    leaves = any(
        (isinstance(export, ImageExport) and export.push)
        or (isinstance(export, ArchiveExport) and export.kind == "oci")
        for export in exports
    )
    found: dict[str, str | None] = {}
    for kind, text in _prefixed(attributes, "attest:"):
        words = [word for word in text.split(",") if word != f"type={kind}"]
        if leaves or "inline-only=true" not in words:
            found[kind] = ",".join(words)
    return found


def _refuse(attributes: Mapping[str, str]) -> None:
    if "source" in attributes or "cmdline" in attributes:
        raise NotOffered("other frontends than Docker's own for Dockerfiles are not supported")


def _remote(attributes: Mapping[str, str]) -> str:
    """Where the build context is, when the client has it not."""
    context = attributes.get("context", "")
    return "" if context.startswith(UPLOADED) else context


def _files(attributes: Mapping[str, str], contexts: Mapping[str, str]) -> SessionFiles:
    """Where the client has the files."""
    context = attributes.get("context", "")
    local = {name: value.removeprefix(_LOCAL) for name, value in contexts.items() if value.startswith(_LOCAL)}
    return SessionFiles(
        filename=attributes.get("filename", "") or "Dockerfile",
        dockerfile_dir=attributes.get("dockerfilekey", "") or "dockerfile",
        context_dir=attributes.get("contextkey", "") or "context",
        upload=context if context.startswith(UPLOADED) else "",
        locals=local,
    )


def _host(attributes: Mapping[str, str]) -> HostConfig:
    """The limits and the network of RUN steps. Raises InvalidArgument."""
    network = attributes.get("force-network-mode", "")
    if network not in _NETWORKS:
        raise InvalidArgument(f"invalid network mode {network[:32]!r}")
    return HostConfig(
        memory=_number(attributes, "memory"),
        memory_swap=_number(attributes, "memswap"),
        cpu_shares=_number(attributes, "cpushares"),
        cpu_period=_number(attributes, "cpuperiod"),
        cpu_quota=_number(attributes, "cpuquota"),
        cpuset_cpus=attributes.get("cpusetcpus", ""),
        cpuset_mems=attributes.get("cpusetmems", ""),
        cgroup_parent=attributes.get("cgroup-parent", ""),
        shm_size=_number(attributes, "shm-size"),
        ulimits=[_ulimit(text) for text in _fields(attributes.get("ulimit", ""))] or None,
        extra_hosts=[_host_line(text) for text in _fields(attributes.get("add-hosts", ""))] or None,
        network_mode="" if network == "sandbox" else network,
    )


def _host_line(text: str) -> str:
    name, equals, address = text.partition("=")
    if not equals:
        raise InvalidArgument(f"invalid host {text[:64]!r}: name=address is needed")
    return f"{name}:{address}"


def _ulimit(text: str) -> Ulimit:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))
    except ValueError:
        raise InvalidArgument(f"invalid ulimit {text[:64]!r}: name=soft:hard is needed") from None


def _number(attributes: Mapping[str, str], name: str) -> int:
    text = attributes.get(name, "")
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) < _SIZE_LIMIT):
        raise InvalidArgument(f"invalid {name}: {text[:32]!r} is no number")
    return int(text)


def _fields(text: str) -> Sequence[str]:
    """CSV on one line, as clients write lists. Raises InvalidArgument."""
    try:
        return next(csv.reader([text]), []) if text else []
    except csv.Error as error:
        raise InvalidArgument(f"invalid list {text[:64]!r}: {error}") from error


def _prefixed(attributes: Mapping[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in attributes.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value
