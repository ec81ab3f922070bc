"""Searching images by name, where a registry offers it: the v1 search of Docker Hub. Blocking; net threads."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.endpoint import Endpoint
from corten.registry.endpoints import upstream
from corten.registry.errors import RegistryError
from corten.spec.docker.image import SearchResult
from corten.spec.reference import DEFAULT_DOMAIN

_INDEX_HOST = "index.docker.io"


class _Answer(msgspec.Struct):
    results: list[SearchResult] | None = None


def search(
    client: RegistryClient, term: str, limit: int, credentials: Credentials, cancel: Cancel
) -> list[SearchResult]:
    """Images whose names or descriptions hold `term`; `host/term` asks that host. Raises RegistryError."""
    first, slash, rest = term.partition("/")
    remote = bool(slash) and ("." in first or ":" in first or first == "localhost")
    domain, words = (first, rest) if remote else (DEFAULT_DOMAIN, term)
    endpoint = upstream(domain, client.config)
    if domain == DEFAULT_DOMAIN:
        endpoint = Endpoint(host=_INDEX_HOST, schemes=endpoint.schemes, verify=endpoint.verify)
        words = words.removeprefix("library/")
    headers = {"Accept": "application/json", "X-Docker-Token": "true"}
    if credentials.username:
        headers["Authorization"] = credentials.basic()
    query = urlencode({"q": words, "n": str(limit)})
    failure: RegistryError | None = None
    for scheme in endpoint.schemes:
        try:
            return _ask(client, endpoint, f"{endpoint.base(scheme)}/v1/search?{query}", headers, cancel)
        except RegistryError as error:
            failure = error
    assert failure is not None
    raise failure


def _ask(
    client: RegistryClient, endpoint: Endpoint, url: str, headers: dict[str, str], cancel: Cancel
) -> list[SearchResult]:
    with client.transport.request("GET", url, endpoint=endpoint, headers=headers, cancel=cancel) as response:
        if response.status != 200:
            hint = f"{endpoint.host} offers no search" if response.status == 404 else ""
            raise RegistryError(f"Unexpected status code {response.status} from {endpoint.host}", hint=hint)
        try:
            return msgspec.json.decode(response.body(), type=_Answer).results or []
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise RegistryError(f"{endpoint.host} gave no valid answer to the search") from error
