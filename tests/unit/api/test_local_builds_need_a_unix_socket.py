"""POST /corten/build: only a unix socket passes descriptors, and only its peer is known."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from corten.api.query import Query
from corten.api.routes.corten.build import corten_build
from corten.api.routing import Request
from corten.errors import InvalidArgument, NotFound


class Connection:
    """One that must not be taken over."""

    def __init__(self, *, trusted: bool) -> None:
        self.trusted = trusted

    async def hijack(self, **_options: object) -> Any:
        raise AssertionError("it was taken over")


def ask(*, trusted: bool, upgrade: str) -> None:
    request = Request(
        method="POST",
        path="/corten/build",
        params={},
        query=Query(""),
        headers={"connection": "upgrade", "upgrade": upgrade},
        version=(1, 45),
        connection=cast("Any", Connection(trusted=trusted)),
    )
    asyncio.run(cast("Any", corten_build(request, cast("Any", None))))


def test_over_tcp_it_does_not_exist() -> None:
    with pytest.raises(NotFound, match="send the context to /build"):
        ask(trusted=False, upgrade="corten-build")


@pytest.mark.parametrize("upgrade", ["", "tcp", "h2c"])
def test_it_is_no_plain_request(upgrade: str) -> None:
    with pytest.raises(InvalidArgument, match="must be upgraded to corten-build"):
        ask(trusted=True, upgrade=upgrade)


def test_a_query_that_came_as_json_is_read_as_any_other() -> None:
    query = Query.of({"t": ["a", "b"], "target": "x", "pull": "1", "memory": "5", "dockerfile": "sp&ce=%41"})
    assert query.values("t") == ["a", "b"]
    assert (query.text("target"), query.flag("pull"), query.number("memory")) == ("x", True, 5)
    assert query.text("dockerfile") == "sp&ce=%41"
    assert query.text("missing") == ""
