"""What the image routes make of queries, headers and failures, below HTTP itself."""

import base64
import json

import pytest

from corten.api.platforms import platform_of, platforms_of
from corten.api.progress import progress_response
from corten.api.query import Query
from corten.api.routes.images.create import image_create
from corten.api.routes.images.inspect import image_inspect
from corten.api.routes.images.list import image_list
from corten.api.routing import Request
from corten.errors import InvalidArgument, NotFound
from corten.spec.docker.progress import layer_progress, layer_status, status

from .conftest import body_of


class Connection:
    def __init__(self, data=b""):
        self.data = data

    def body(self):
        return body_of(self.data)


def request(method, query="", version=(1, 50), data=b"", headers=None, **params):
    return Request(method, "/", params, Query(query), headers or {}, version, Connection(data))


async def text(response):
    return b"".join([chunk async for chunk in response.stream])


def messages(*given, error=None):
    async def run():
        for message in given:
            yield message
        if error is not None:
            raise error

    return run()


async def test_messages_are_lines_of_json_as_docker_writes_them():
    response = await progress_response(
        messages(status("Digest: x"), layer_status("ab", "Waiting"), layer_progress("ab", "Downloading", 5, 10))
    )
    assert response.content_type == "application/json"
    lines = (await text(response)).split(b"\r\n")
    assert lines[0] == b'{"status":"Digest: x"}'
    assert lines[1] == b'{"status":"Waiting","progressDetail":{},"id":"ab"}'
    assert json.loads(lines[2]) == {
        "status": "Downloading",
        "progressDetail": {"current": 5, "total": 10},
        "progress": "[=========================>                         ]       5B/10B",
        "id": "ab",
    }
    assert lines[3:] == [b""]


async def test_a_failure_before_the_first_message_is_an_error_of_http():
    with pytest.raises(NotFound):
        await progress_response(messages(error=NotFound("no")))


async def test_a_failure_later_is_the_last_message():
    response = await progress_response(messages(status("x"), error=NotFound("no such thing")))
    last = (await text(response)).split(b"\r\n")[-2]
    assert json.loads(last) == {"errorDetail": {"message": "no such thing"}, "error": "no such thing"}


async def test_closing_the_reply_closes_the_work():
    closed = []

    async def run():
        try:
            while True:
                yield status("x")
        finally:
            closed.append(True)

    response = await progress_response(run())
    await anext(response.stream)
    await response.stream.aclose()
    assert closed == [True]


@pytest.mark.parametrize(
    ("values", "platforms"),
    [
        ([], []),
        ([""], []),
        (["linux/arm64"], ["linux/arm64"]),
        (['{"os":"linux","architecture":"arm","variant":"v6"}', "linux/386"], ["linux/arm/v6", "linux/386"]),
        (['["{\\"os\\":\\"linux\\",\\"architecture\\":\\"amd64\\"}"]'], ["linux/amd64"]),
    ],
)
def test_several_platforms_are_read_in_each_form_that_clients_send(values, platforms):
    assert platforms_of(values) == platforms


async def test_create_needs_a_source(engine):
    services = type("Services", (), {"transfer": engine.transfer})
    with pytest.raises(InvalidArgument):
        await image_create(request("POST"), services)
    with pytest.raises(InvalidArgument, match="cannot download from 'ftp://x/y': it is no http:// or https:// URL"):
        await image_create(request("POST", "fromSrc=ftp://x/y"), services)
    with pytest.raises(InvalidArgument, match="X-Registry-Auth"):
        await image_create(request("POST", "fromImage=x&tag=1", headers={"x-registry-auth": "%"}), services)


async def test_create_pulls_with_the_clients_credentials(engine, registry):
    registry.users = {"u": "p"}
    image = registry.add_image("demo")
    services = type("Services", (), {"transfer": engine.transfer, "listing": engine.listing})
    auth = base64.urlsafe_b64encode(b'{"username":"u","password":"p"}').decode()
    query = f"fromImage={registry.host}/demo&tag=latest"
    body = await text(await image_create(request("POST", query, headers={"x-registry-auth": auth}), services))
    assert f"Digest: {image.digest}".encode() in body
    shown = json.loads((await image_inspect(request("GET", name=f"{registry.host}/demo"), services)).body)
    assert shown["Config"] == {"Cmd": ["/hello"]}
    assert shown["RootFS"] == {"Type": "layers", "Layers": image.diff_ids}
    old = json.loads(
        (await image_inspect(request("GET", version=(1, 41), name=f"{registry.host}/demo"), services)).body
    )
    assert old["Config"]["Entrypoint"] is None
    assert old["VirtualSize"] == old["Size"]
    (row,) = json.loads((await image_list(request("GET"), services)).body)
    assert row["Id"] == image.image_id
    assert row["Labels"] is None
    assert "Manifests" not in row


def test_platforms_are_read_in_both_forms():
    assert platform_of('{"os":"linux","architecture":"arm64","variant":"v8"}') == "linux/arm64/v8"
    assert platform_of("linux/arm64") == "linux/arm64"
    with pytest.raises(InvalidArgument):
        platform_of("{")
