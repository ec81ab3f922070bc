"""Which handler a request is for: dictionaries on method, path shape and ends, no scan over all routes. Pure.

A path without parameters is found by itself. One with parameters is found by its first segment and, when its last one
is fixed (`/containers/{id}/start`), by that too; the few that share these are tried by their patterns.
"""

from __future__ import annotations

from collections.abc import Iterable

from corten.api.routing import Route


class Router:
    """All routes of the API."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._shaped: dict[tuple[str, str, str], list[Route]] = {}
        self.routes = list(routes)
        for route in self.routes:
            if "{" not in route.path:
                if (route.method, route.path) in self._exact:
                    raise ValueError(f"two handlers for {route.method} {route.path}")
                self._exact[route.method, route.path] = route
            else:
                self._shaped.setdefault((route.method, *_ends(route.path)), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and its parameters for a decoded path without version, or None."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, {}
        first, last = _ends(path)
        for key in ((method, first, last), (method, first, "")):
            for route in self._shaped.get(key, ()):
                match = route.pattern.fullmatch(path)
                if match is not None:
                    return route, match.groupdict()
        return None


def _ends(path: str) -> tuple[str, str]:
    """The first segment, and the last one unless it is a parameter."""
    first = path[1:].partition("/")[0]
    last = path.rpartition("/")[2]
    return first, "" if "{" in last else last
