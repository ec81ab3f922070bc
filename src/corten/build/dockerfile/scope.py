"""Which names a build argument may have, and what they are without one: global ARGs, platforms, proxies. Pure; daemon.

Source: "Predefined ARGs", "Automatic platform ARGs in the global scope" and "BuildKit built-in build args" of the
Dockerfile reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.stages import BuildRequest, Dockerfile
from corten.errors import InvalidArgument
from corten.spec import platform as platforms
from corten.spec.platform import Platform

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
HIDDEN = tuple(spelling for name in PROXIES for spelling in (name, name.lower()))
BUILTIN = (
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalScope:
    """What FROMs expand with. `unset` are the names that global ARGs asked for in vain."""

    variables: Mapping[str, str]
    platforms: Mapping[str, str]
    unset: frozenset[str] = frozenset()


def platform_args(request: BuildRequest) -> dict[str, str]:
    """The automatic ARGs of both platforms and of the target. Raises InvalidArgument for what is no platform."""
    host = platforms.parse(request.build_platform) if request.build_platform else platforms.host_platform()
    target = platforms.parse(request.platform, host=host) if request.platform else host
    return {
        **_parts("BUILD", host),
        **_parts("TARGET", target),
        "TARGETSTAGE": request.target or "default",
    }


def _parts(prefix: str, platform: Platform) -> dict[str, str]:
    return {
        f"{prefix}PLATFORM": str(platform),
        f"{prefix}OS": platform.os,
        f"{prefix}OSVERSION": "",
        f"{prefix}ARCH": platform.architecture,
        f"{prefix}VARIANT": platform.variant,
    }


def global_scope(dockerfile: Dockerfile, request: BuildRequest) -> GlobalScope:
    """The scope before the first FROM. Raises DockerfileError."""
    given = request.given_args
    automatic = platform_args(request)
    automatic |= {name: value for name, value in given.items() if name in automatic}
    variables = dict(automatic)
    unset: set[str] = set()
    for arg in dockerfile.global_args:
        # one after the other, also on one line: each sees those before it
        for number in range(len(arg.names)):
            expansion = Expansion(variables, arg.node.escape, unset=unset)
            name, default = arg.expanded(expansion).names[number]
            value = given.get(name, default)
            if value is not None:
                variables[name] = value
    return GlobalScope(variables=variables, platforms=automatic, unset=frozenset(unset))


def hidden_environment(request: BuildRequest, declared: Mapping[str, str]) -> tuple[str, ...]:
    """NAME=value of the proxies that were given and that no ARG of the stage declares."""
    given = request.given_args
    return tuple(f"{name}={given[name]}" for name in HIDDEN if name in given and name not in declared)


def parse_platform(text: str) -> str:
    """The platform in its normal form. Raises ValueError with Docker's text."""
    try:
        return str(platforms.parse(text))
    except InvalidArgument as error:
        raise ValueError(f"failed to parse platform {text}: {error.message}") from error
