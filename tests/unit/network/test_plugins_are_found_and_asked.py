"""Where plugins are looked for, and what the client makes of what comes back."""

import asyncio
import contextlib
import json
import socket
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import CortenError, InvalidArgument
from corten.network.plugins.client import MethodUnknown, Patience, Plugin, PluginFailed, PluginNotFound, PluginRefused
from corten.network.plugins.discovery import Address, PluginFolders, parse_address_url, read_spec

PATIENT = Patience(connect_s=30, answer_s=30, first_pause_s=0.001)
HASTY = Patience(connect_s=0.1, answer_s=0.1, first_pause_s=0.01)


class Answer(msgspec.Struct):
    value: int = msgspec.field(name="Value", default=0)


@pytest.fixture
def folders():
    """Below a short path: that of a unix socket has 108 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="corten-plugins-") as name:
        root = Path(name)
        for part in ("sockets", "etc", "lib"):
            (root / part).mkdir()
        yield PluginFolders(sockets=(root / "sockets",), specs=(root / "etc", root / "lib"))


@contextlib.contextmanager
def listening(path):
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        yield str(path)


def test_a_socket_comes_before_a_specification_and_folders_in_their_order(folders):
    (sockets,), (etc, lib) = folders.sockets, folders.specs
    assert folders.find("weave") is None
    assert not folders.has("weave")
    (lib / "weave.json").write_text('{"Name": "weave", "Addr": "tcp://localhost:9000"}')
    assert folders.find("weave") == Address(host="localhost", port=9000)
    (etc / "weave").mkdir()
    (etc / "weave" / "weave.spec").write_text("unix:///run/weave.sock\n")
    assert folders.find("weave") == Address(path="/run/weave.sock")
    (sockets / "weave.sock").write_text("a file is no socket")
    assert folders.find("weave") == Address(path="/run/weave.sock")
    with listening(sockets / "weave" / "weave.sock") as path:
        assert folders.find("weave") == Address(path=path)
    assert folders.has("weave")


@pytest.mark.parametrize("name", ["", "../weave", "a/b", ".weave", "weave\n", "weave:latest", "x" * 129])
def test_names_stay_in_the_folders(folders, name):
    assert folders.find(name) is None


@pytest.mark.parametrize(
    "text",
    ["", "weave", "https://localhost:1", "tcp://localhost", "tcp://:9", "unix://run/x", "tcp://h:99999", "tcp://[::1"],
)
def test_an_address_that_cannot_be_used_is_refused(folders, text):
    with pytest.raises(InvalidArgument, match="unusable address"):
        parse_address_url(text)
    file = folders.specs[0] / "weave.spec"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=r"plugin specification .*weave\.spec"):
        read_spec(file)
    assert folders.has("weave")  # it is there; what is wrong is said when it is used


@given(st.binary(max_size=200))
def test_a_specification_of_any_bytes_is_an_address_or_an_error(tmp_path_factory, raw):
    for name in ("x.spec", "x.json"):
        file = tmp_path_factory.getbasetemp() / name
        file.write_bytes(raw)
        with contextlib.suppress(InvalidArgument):
            read_spec(file)


async def ask(folders, answer, *, method="NetworkDriver.Test", activation=None):
    """What a call makes of `answer`, the bytes that the plugin sends before it closes the connection."""
    asked = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ")[1].decode())
        writer.write(activation if activation and asked[-1] == "/Plugin.Activate" else answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, folders.sockets[0] / "weave.sock")
    try:
        return await Plugin("weave", folders, PATIENT).call(method, {}, Answer), asked
    finally:
        server.close()


def http(body, *, status=200, headers=""):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\n{headers}\r\n".encode() + raw


READY = http({"Implements": ["NetworkDriver"]})


@pytest.mark.parametrize(
    "answer",
    [
        http({"Value": 7}),
        http({"Value": 7}, headers="Content-Length: 12\r\n"),
        http(b'5\r\n{"Val\r\n7\r\nue": 7}\r\n0\r\n\r\n', headers="Transfer-Encoding: chunked\r\n"),
        http({"Value": 7, "Err": "", "More": [1]}),
        b"HTTP/1.0 200 OK\r\n\r\n" + b'{"Value": 7}\n',
    ],
)
async def test_an_answer_may_end_in_any_way_of_http(folders, answer):
    found, asked = await ask(folders, answer, activation=READY)
    assert found == Answer(7)
    assert asked == ["/Plugin.Activate", "/NetworkDriver.Test"]


@pytest.mark.parametrize("answer", [http(b""), http(b"", status=200, headers="Content-Length: 0\r\n"), http(b"{}")])
async def test_an_empty_answer_says_that_it_is_done(folders, answer):
    found, _asked = await ask(folders, answer, activation=READY)
    assert found == Answer()


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (http({"Err": "no room"}), PluginRefused, 'plugin "weave": NetworkDriver.Test: no room'),
        (http({"Err": "no room"}, status=500), PluginRefused, "no room"),
        (http(b"plain words", status=400), PluginRefused, "plain words"),
        (http(b"", status=503), PluginRefused, "HTTP status 503"),
        (http(b"", status=404), MethodUnknown, "does not know NetworkDriver.Test"),
        (http({"Value": "seven"}), PluginFailed, "invalid JSON"),
        (http(b"[1, 2]"), PluginFailed, "invalid JSON"),
        (http(b"[" * 100_000), PluginFailed, "invalid JSON"),
        (http(b'{"Value": 7', headers="Content-Length: 400\r\n"), PluginFailed, "invalid JSON"),
        (http(b" " * (2 << 20)), PluginFailed, "longer than"),
        (b"HTTP/1.1 200", PluginFailed, "without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 << 20), PluginFailed, "no HTTP|longer than"),
    ],
)
async def test_what_cannot_be_used_is_an_error_that_names_plugin_and_method(folders, answer, kind, text):
    with pytest.raises(kind, match=text) as failure:
        await ask(folders, answer, activation=READY)
    assert len(failure.value.message) < 2000


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_an_error(raw):
    with tempfile.TemporaryDirectory(prefix="corten-plugins-") as folder, contextlib.suppress(CortenError):
        asyncio.run(ask(PluginFolders(sockets=(Path(folder),), specs=()), raw, activation=READY))


async def test_a_plugin_that_is_not_there_yet_is_waited_for(folders):
    patient = Plugin("weave", folders, PATIENT)
    call = asyncio.ensure_future(patient.call("NetworkDriver.Test", {}, Answer))
    await asyncio.sleep(0)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http({"Implements": ["NetworkDriver"], "Value": 7}))
        writer.close()

    server = await asyncio.start_unix_server(serve, folders.sockets[0] / "weave.sock")
    assert (await call).value == 7
    server.close()


async def test_one_that_never_comes_is_not_found_and_a_dead_socket_is_a_failure(folders):
    with pytest.raises(PluginNotFound, match='plugin "weave" not found'):
        await Plugin("weave", folders, HASTY).call("NetworkDriver.Test", {}, Answer)
    with listening(folders.sockets[0] / "weave.sock"), pytest.raises(PluginFailed, match="cannot connect"):
        await Plugin("weave", folders, HASTY).call("NetworkDriver.Test", {}, Answer)
