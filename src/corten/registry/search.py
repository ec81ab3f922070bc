"""Searching images where a registry offers it: by Docker Hub's v1 search, else in its catalog. Blocking; net threads.

Source: Docker's index API (`/v1/search`); distribution's "Listing repositories" (`/v2/_catalog`): names, nothing else.
"""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.endpoint import Endpoint
from corten.registry.endpoints import upstream
from corten.registry.errors import RegistryError, RegistryRefused, RegistryUnreachable
from corten.registry.fetch import pages
from corten.registry.session import Session
from corten.spec.docker.image import SearchResult
from corten.spec.reference import DEFAULT_DOMAIN

_INDEX_HOST = "index.docker.io"
_UNKNOWN = frozenset({404, 405})
_PAGE = 1000
_NAMES = 100_000


class _Catalog(msgspec.Struct):
    repositories: list[str] | None = None


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
    try:
        return _search(client, endpoint, words, limit, credentials, cancel)
    except RegistryRefused as error:
        if domain == DEFAULT_DOMAIN:
            raise
        try:
            session = client.session(endpoint, "", credentials=credentials, cancel=cancel)
            return _from_catalog(session, domain, words, limit)
        except RegistryRefused as refusal:
            if refusal.status in _UNKNOWN:
                raise error from refusal
            raise


def _search(
    client: RegistryClient, endpoint: Endpoint, words: str, limit: int, credentials: Credentials, cancel: Cancel
) -> list[SearchResult]:
    headers = {"Accept": "application/json", "X-Docker-Token": "true"}
    if credentials.username:
        headers["Authorization"] = credentials.basic()
    query = urlencode({"q": words, "n": str(limit)})
    failure: RegistryError | None = None
    for scheme in endpoint.schemes:
        try:
            return _ask(client, endpoint, f"{endpoint.base(scheme)}/v1/search?{query}", headers, cancel)
        except RegistryUnreachable as error:
            failure = error
    assert failure is not None
    raise failure


def _from_catalog(session: Session, domain: str, words: str, limit: int) -> list[SearchResult]:
    """The repositories whose names hold `words`, as they are pulled."""
    found: list[SearchResult] = []
    for name in pages(session, f"_catalog?n={_PAGE}", _repositories, most=_NAMES):
        if words in name:
            found.append(SearchResult(name=f"{domain}/{name}"))
            if len(found) == limit:
                break
    return found


def _repositories(body: bytes) -> list[str]:
    return msgspec.json.decode(body, type=_Catalog).repositories or []


def _ask(
    client: RegistryClient, endpoint: Endpoint, url: str, headers: dict[str, str], cancel: Cancel
) -> list[SearchResult]:
    with client.transport.request("GET", url, endpoint=endpoint, headers=headers, cancel=cancel) as response:
        if response.status != 200:
            text = f"Unexpected status code {response.status} from {endpoint.host}"
            if response.status in _UNKNOWN:
                text += ": it offers no search"
            raise RegistryRefused(text, status=response.status)
        try:
            return msgspec.json.decode(response.body(), type=_Answer).results or []
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise RegistryError(f"{endpoint.host} gave no valid answer to the search") from error
