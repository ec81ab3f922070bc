"""The query of POST /build as what is asked of a build. Docker Engine API: ImageBuild. Daemon only.

Imported at the first build: what a build may be asked for is known all over `build`, which an idle daemon does without.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from corten.api.query import Query
from corten.api.registry_auth import registry_config
from corten.api.routing import Request
from corten.build.attestations.wishes import parse_attests
from corten.build.caching.options import parse_exports as parse_caches
from corten.build.caching.options import parse_imports
from corten.build.calls.results import CALLS
from corten.build.dockerfile.contexts import is_context
from corten.build.exporters.request import Export, ImageExport, parse_exports
from corten.build.location import redacted
from corten.build.options import BuildOptions
from corten.errors import InvalidArgument
from corten.errors import NotImplemented as NotOffered
from corten.lib import codec
from corten.network.egress import parse_rules, split_rules
from corten.spec.docker.hostconfig import HostConfig, Ulimit

_T = TypeVar("_T")
_BUILDKIT = "2"
_CHECK = "lint"
_STATUS = "status"
_OUTPUTS = {"": "", "files": "tar", "archive": "oci"}


def build_options(request: Request) -> BuildOptions:
    """The query, decoded. Raises InvalidArgument; NotImplemented for what the engine does not do."""
    query = request.query
    if query.text("version") == _BUILDKIT:
        raise NotOffered("POST /build does not start BuildKit builds", hint="use buildx, or set DOCKER_BUILDKIT=0")
    call = query.text("call")
    if call not in ("", _CHECK, *CALLS):
        raise NotOffered(f"the call {call[:32]!r} is not supported by this engine: {_CHECK}, {', '.join(CALLS)} are")
    if query.text("progress") not in ("", _STATUS):
        raise InvalidArgument(f"invalid progress {query.text('progress')[:32]!r}: it may be {_STATUS}")
    build_args = _json(query, "buildargs", dict[str, str | None]) or {}
    return BuildOptions(
        dockerfile=query.text("dockerfile"),
        remote=query.text("remote"),
        contexts=_contexts(query),
        names=tuple(name for name in query.values("t") if name),
        quiet=query.flag("q"),
        use_cache=not query.flag("nocache"),
        pull=query.flag("pull"),
        remove=query.flag("rm", default=True) or query.flag("forcerm"),
        remove_failed=query.flag("forcerm"),
        build_args=build_args,
        cache_from=parse_imports(_json(query, "cachefrom", list[Any]) or []),
        cache_to=parse_caches(_json(query, "cacheto", list[Any]) or [], build_args),
        labels=_json(query, "labels", dict[str, str]) or {},
        target=query.text("target"),
        diagnostics=query.flag("diagnostics") or call == _CHECK,
        is_check=call == _CHECK,
        call=call if call in CALLS else "",
        status=query.text("progress") == _STATUS,
        keep_failed=query.flag("keepfailed"),
        no_cache_stages=tuple(query.values("nocachefilter")),
        exports=_exports(query),
        attests=parse_attests(_json(query, "attests", dict[str, str | None]) or {}),
        squash=query.flag("squash"),
        platform=query.text("platform"),
        allow=tuple(query.values("allow")),
        host=_host(query),
        credentials=registry_config(request),
    )


def _contexts(query: Query) -> dict[str, str]:
    """Corten's own parameter: named contexts as JSON, name by name. Raises InvalidArgument."""
    contexts = _json(query, "contexts", dict[str, str]) or {}
    for name, value in contexts.items():
        if not is_context(name, value):
            raise InvalidArgument(f"invalid named context {name[:128]!r}: {redacted(value)[:256]!r}")
    return contexts


class _Output(msgspec.Struct, rename="pascal"):
    """One of Docker's `outputs`."""

    type: str
    attrs: dict[str, str] | None = None


def _exports(query: Query) -> tuple[Export, ...]:
    """`outputs`, or `output`, Corten's own: files or archive. Raises InvalidArgument."""
    outputs = _json(query, "outputs", list[_Output])
    if outputs:
        return parse_exports([(output.type, output.attrs or {}) for output in outputs])
    text = query.text("output")
    if text not in _OUTPUTS:
        raise InvalidArgument(f"invalid output {text[:32]!r}: it may be files or archive")
    return (ImageExport(),) if not text else parse_exports([(_OUTPUTS[text], {})])


def _host(query: Query) -> HostConfig:
    """The limits, the network and (Corten's own) the egress list of RUN steps. Raises InvalidArgument."""
    hosts = query.text("extrahosts")
    listed = _json(query, "extrahosts", list[str]) if hosts.startswith("[") else None
    ulimits = _json(query, "ulimits", list[Ulimit])
    egress = query.values("egress")
    parse_rules(egress)
    return HostConfig(
        memory=query.number("memory", 0) or 0,
        memory_swap=query.number("memswap", 0) or 0,
        cpu_shares=query.number("cpushares", 0) or 0,
        cpu_period=query.number("cpuperiod", 0) or 0,
        cpu_quota=query.number("cpuquota", 0) or 0,
        cpuset_cpus=query.text("cpusetcpus"),
        cpuset_mems=query.text("cpusetmems"),
        cgroup_parent=query.text("cgroupparent"),
        shm_size=query.number("shmsize", 0) or 0,
        ulimits=ulimits or None,
        extra_hosts=(query.values("extrahosts") if listed is None else listed) or None,
        security_opt=query.values("securityopt") or None,
        network_mode=query.text("networkmode"),
        egress=split_rules(egress) if egress else UNSET,
    )


def _json(query: Query, name: str, kind: type[_T]) -> _T | None:
    text = query.text(name)
    if not text or text == "null":
        return None
    try:
        return codec.decode(kind, text.encode("utf-8", "surrogatepass"))
    except (InvalidArgument, UnicodeError) as error:
        raise InvalidArgument(f"error reading {name}: {error}") from error
