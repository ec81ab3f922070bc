"""The daemon's one registry client: sessions by image name, and manifests from the first endpoint that has them.

Blocking; net threads; thread-safe. Holds connections, tokens and found schemes for the daemon's life; no image state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from corten.registry.auth import Tokens
from corten.registry.cancel import Cancel
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.endpoint import Endpoint
from corten.registry.endpoints import RegistryConfig, endpoints
from corten.registry.errors import CorruptContent, RegistryError
from corten.registry.fetch import RawManifest, get_manifest
from corten.registry.proxies import Proxies
from corten.registry.session import Schemes, Session
from corten.registry.timings import Timings
from corten.registry.transport import Transport
from corten.spec.digest import is_digest
from corten.spec.reference import Reference

_MIRROR_TRIES = 2


class RegistryClient:
    """Makes sessions; one a daemon."""

    def __init__(
        self,
        config: RegistryConfig | None = None,
        *,
        timings: Timings | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.config = config or RegistryConfig()
        self.timings = timings or Timings()
        proxies = Proxies.of(
            environ, http=self.config.http_proxy, https=self.config.https_proxy, without=self.config.no_proxy
        )
        self.transport = Transport(certs_dirs=self.config.certs_dirs, timings=self.timings, proxies=proxies)
        self.tokens = Tokens(self.transport)
        self._schemes = Schemes()

    def reconfigure(self, config: RegistryConfig, timings: Timings) -> None:
        """Take over mirrors, insecure registries and the number of tries for later requests (SIGHUP)."""
        self.config, self.timings = config, timings

    def close(self) -> None:
        """End the connections that nobody uses."""
        self.transport.close()

    def sessions(
        self,
        reference: Reference,
        *,
        credentials: Credentials = ANONYMOUS,
        cancel: Cancel,
        push: bool = False,
        timings: Timings | None = None,
    ) -> list[Session]:
        """Sessions for the reference's repository, in the order to try; credentials are the upstream's alone."""
        return [
            self.session(
                endpoint,
                reference.path,
                actions="pull,push" if push else "pull",
                credentials=ANONYMOUS if endpoint.mirror else credentials,
                cancel=cancel,
                timings=timings,
            )
            for endpoint in endpoints(reference.domain, self.config, push=push)
        ]

    def session(
        self,
        endpoint: Endpoint,
        repository: str,
        *,
        actions: str = "pull",
        credentials: Credentials = ANONYMOUS,
        cancel: Cancel,
        timings: Timings | None = None,
    ) -> Session:
        """A session for `repository` at one endpoint."""
        return Session(
            endpoint,
            repository,
            actions=actions,
            credentials=credentials,
            transport=self.transport,
            tokens=self.tokens,
            schemes=self._schemes,
            cancel=cancel,
            timings=_patience(timings or self.timings, endpoint),
        )


def _patience(timings: Timings, endpoint: Endpoint) -> Timings:
    """A mirror that fails is not waited for long: the next endpoint is there to ask."""
    return replace(timings, attempts=min(timings.attempts, _MIRROR_TRIES)) if endpoint.mirror else timings


def resolve(sessions: Sequence[Session], tag_or_digest: str) -> tuple[RawManifest, list[Session]]:
    """The manifest from the first endpoint that has it, and the sessions for its blobs, in the order to try.

    What a mirror answers is never final: the next endpoint is asked. Raises the last endpoint's RegistryError.
    """
    failure: Exception | None = None
    passed: list[Session] = []
    for number, session in enumerate(sessions):
        if not session.endpoint.resolves and not is_digest(tag_or_digest):
            passed.append(session)  # it may have the blobs
            continue
        try:
            manifest = get_manifest(session, tag_or_digest)
        except (RegistryError, CorruptContent) as error:
            failure = error
            continue
        return manifest, [*passed, *sessions[number:]]
    assert failure is not None
    raise failure
