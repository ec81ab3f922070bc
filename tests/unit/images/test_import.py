"""Import: a tar from a client or a web server becomes an image; wrong words are refused before anything is read."""

import gzip
import http.server
import threading

import pytest

from corten.errors import CortenError, InvalidArgument
from corten.spec.digest import digest_of
from corten.testing.made_images import tar_of

from .conftest import body_of, collect


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves what is in `files`; `short` promises more than there is."""

    def do_GET(self):
        data = self.server.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"") + 10 * (self.path == "/short")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_an_import_takes_its_tar_from_a_web_server(engine, web):
    plain = tar_of({"hello": b"x"})
    web.files = {"/rootfs.tar.gz": gzip.compress(plain)}
    url = f"http://127.0.0.1:{web.server_port}/rootfs.tar.gz"
    told = await collect(engine.transfer.import_image(body_of(b""), url=url, repository="got", tag="1"))
    assert told[0].status == f"Downloading from {url}"
    shown = engine.listing.inspect("got:1")
    assert (shown.id, shown.comment) == (told[-1].status, f"Imported from {url}")
    assert shown.root_fs.layers == [digest_of(plain)]


@pytest.mark.parametrize(("path", "text"), [("/none", "with status 404"), ("/short", "short")])
async def test_an_import_that_the_web_server_does_not_give_whole_leaves_nothing(engine, web, path, text):
    web.files = {"/short": tar_of({"hello": b"x"})}
    with pytest.raises(CortenError, match=text):
        await collect(engine.transfer.import_image(body_of(b""), url=f"http://127.0.0.1:{web.server_port}{path}"))
    assert (engine.digests(), engine.layers.tars, engine.ingests()) == (set(), {}, [])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"platform": "windows/amd64"}, "operating system is not supported"),
        ({"platform": "a/b/c/d"}, '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        ({"repository": "x@sha256:" + "0" * 64}, "cannot import digest reference"),
    ],
)
async def test_an_import_with_wrong_words_is_refused_at_once(engine, options, text):
    with pytest.raises(InvalidArgument) as caught:
        engine.transfer.import_image(body_of(b""), **options)
    assert caught.value.message == text


async def test_an_empty_command_takes_the_images_away(engine):
    changes = ["ENTRYPOINT a", "CMD b", "ENTRYPOINT", "CMD"]
    await collect(engine.transfer.import_image(body_of(tar_of({"f": b""})), repository="x", changes=changes))
    config = engine.listing.inspect("x").config
    assert (config.get("Cmd"), config.get("Entrypoint")) == ([], [])
    with pytest.raises(InvalidArgument, match=r"^ENV requires at least one argument$"):
        engine.transfer.import_image(body_of(b""), changes=["ENV"])
