"""What a client asks of a build. Pure; daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from corten.registry.credentials import Credentials
from corten.spec.docker.hostconfig import HostConfig

Output = Literal["", "files", "archive"]
OUTPUTS: tuple[Output, ...] = ("", "files", "archive")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """The query of POST /build, decoded. `host` has the limits and the network of RUN steps,
    `contexts` the named contexts (see dockerfile.stages.BuildRequest), `remote` where the build context is, when the
    body has none.

    Corten's own: `diagnostics` asks for what the checks find and for the lines of what fails, `is_check` for the checks
    instead of a build, `output` for the result as a tar instead of an image.
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
    output: Output = ""
    platform: str = ""
    host: HostConfig = field(default_factory=HostConfig)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
