"""Lines come into a container's hosts file and go again, and all else that stands there stays, whatever it is."""

import errno
import logging
import os
import resource
import signal

import pytest

from corten.engine.containers.hosts_edit import add_lines, remove_lines

LINES = "10.1.0.2\tweb\nfd00::2\tweb\n"
MANY = b"".join(b"10.9.%d.%d\tn\xff%d\n" % (n >> 8, n & 255, n) for n in range(20000))


@pytest.mark.parametrize("text", [b"", b"127.0.0.1\tlocalhost\n", b"no newline", b"\xff\xfe\r\n\x0b\n", MANY])
def test_what_the_container_wrote_stays(tmp_path, text):
    hosts = tmp_path / "hosts"
    hosts.write_bytes(text)
    add_lines(str(hosts), LINES)
    begun = text if not text or text.endswith(b"\n") else text + b"\n"
    assert hosts.read_bytes() == begun + LINES.encode()
    remove_lines(str(hosts), LINES)
    assert hosts.read_bytes() == begun


def test_a_file_that_is_too_large_grows_and_is_not_cut(tmp_path, caplog):
    hosts = tmp_path / "hosts"
    hosts.write_bytes(MANY * 20)
    add_lines(str(hosts), LINES)
    with caplog.at_level(logging.WARNING):
        remove_lines(str(hosts), LINES)
    assert "too large to be edited" in caplog.text
    assert hosts.read_bytes() == MANY * 20 + LINES.encode()


def test_lines_that_find_no_room_leave_the_file_as_it_was(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_bytes(b"127.0.0.1\tlocalhost\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(hosts).st_size + 5, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            add_lines(str(hosts), LINES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert hosts.read_bytes() == b"127.0.0.1\tlocalhost\n"
