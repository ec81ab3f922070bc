"""What a client asks of a build. Pure; daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.build.attestations.wishes import UNSAID, Attests
from corten.build.caching.options import CacheExport, CacheImport
from corten.build.exporters.request import Export, ImageExport
from corten.registry.credentials import Credentials
from corten.spec.docker.hostconfig import HostConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """The query of POST /build, decoded. `host` has the limits and the network of RUN steps,
    `contexts` the named contexts (see dockerfile.stages.BuildRequest), `remote` where the build context is, when the
    body has none.

    Corten's own: `diagnostics` asks for what the checks find, for the lines of what fails and for what exporters say,
    `is_check` for the checks instead of a build, `call` for an answer of calls/results.py. `status` is how progress is
    told: as BuildKit's status messages. `keep_failed` lets the client look at what a failed step left; for the stages
    `no_cache_stages` the cache is not asked. `exports` is where the result goes, `attests` is what shall be said of
    it. `platform` may be several, with commas between them; `squash` makes one layer of all new ones. `allow` are
    entitlements (see entitlements.py).
    """

    dockerfile: str = "Dockerfile"
    remote: str = ""
    names: tuple[str, ...] = ()
    quiet: bool = False
    use_cache: bool = True
    pull: bool = False
    remove: bool = True
    remove_failed: bool = False
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    diagnostics: bool = False
    is_check: bool = False
    call: str = ""
    status: bool = False
    keep_failed: bool = False
    no_cache_stages: tuple[str, ...] = ()
    exports: tuple[Export, ...] = (ImageExport(),)
    attests: Attests = UNSAID
    squash: bool = False
    platform: str = ""
    allow: tuple[str, ...] = ()
    host: HostConfig = field(default_factory=HostConfig)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    cache_from: tuple[CacheImport, ...] = ()
    cache_to: tuple[CacheExport, ...] = ()
