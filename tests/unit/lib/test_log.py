"""Log lines: one line a record, secrets hidden."""

import io
import json
import logging

import pytest

from corten.lib import log


@pytest.fixture
def lines():
    stream = io.StringIO()
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    log.configure(level="debug", stream=stream)
    yield stream
    root.handlers[:] = before


LOG = logging.getLogger("corten.test")


def test_values_are_keys(lines):
    LOG.info("request", extra={"path": "/info", "status": 200, "text": "two words"})
    line = lines.getvalue()
    assert line.endswith('level=info logger=corten.test msg="request" path=/info status=200 text="two words"\n')


def test_what_a_client_sends_cannot_make_a_line(lines):
    LOG.warning("bad\nlevel=error", extra={"name_": "a\n\x1b[31mb"})
    assert lines.getvalue().count("\n") == 1
    assert "\x1b" not in lines.getvalue()


def test_secrets_are_not_written(lines):
    LOG.info(
        "pull https://user:hunter2@registry/x with X-Registry-Auth: aHVudGVyMg== and Authorization: Bearer hunter2",
        extra={"password": "hunter2", "identitytoken": "hunter2", "url": "http://a:hunter2@b/"},
    )
    assert "hunter2" not in lines.getvalue()
    assert "aHVudGVyMg" not in lines.getvalue()


def test_errors_carry_their_trace_on_the_same_line(lines):
    try:
        raise ValueError("broken")
    except ValueError:
        LOG.exception("failed")
    assert lines.getvalue().count("\n") == 1
    assert "ValueError('broken')" in lines.getvalue()


def test_levels(lines):
    log.set_level("warn")
    LOG.info("not shown")
    LOG.warning("shown")
    assert "not shown" not in lines.getvalue()
    log.set_level("debug")
    LOG.debug("now")
    assert "now" in lines.getvalue()


def test_json_lines():
    record = logging.makeLogRecord({"name": "corten.x", "msg": "hi", "levelno": 20, "path": "/a", "token": "s"})
    fields = json.loads(log.JsonFormatter().format(record))
    assert (fields["msg"], fields["level"], fields["path"], fields["token"]) == ("hi", "info", "/a", "***")
