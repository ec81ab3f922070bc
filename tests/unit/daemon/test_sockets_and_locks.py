"""Listening sockets, locks and the pidfile."""

import os
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from corten.daemon.config import merge
from corten.daemon.locks import exclusive, pidfile
from corten.daemon.options import ConfigError
from corten.daemon.sockets import open_listeners, tcp_listener, unix_listener
from corten.daemon.stop import stop
from corten.errors import NotFound


@pytest.fixture
def short():
    """A directory whose sockets fit into sun_path."""
    with tempfile.TemporaryDirectory(prefix="ct") as name:
        yield Path(name)


def configured(**values):
    return merge({name.replace("_", "-"): value for name, value in values.items()}, {}, Path("/none"))


def test_a_unix_socket_is_for_root_and_its_group(short):
    path = str(short / "a" / "s")
    with unix_listener(path, "root", explicit=True):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660


def test_a_group_by_number(short):
    with unix_listener(str(short / "s"), "12345", explicit=True):
        assert os.stat(short / "s").st_gid == 12345


def test_an_unknown_group_is_an_error_only_when_it_was_asked_for(short):
    with unix_listener(str(short / "s"), "no-such-group", explicit=False):
        assert os.stat(short / "s").st_gid == 0
    with pytest.raises(ConfigError, match="group no-such-group not found"):
        unix_listener(str(short / "t"), "no-such-group", explicit=True)


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(short):
    path = str(short / "s")
    dead = unix_listener(path, "root", explicit=True)
    dead.close()
    with unix_listener(path, "root", explicit=True) as living:
        living.listen()
        with pytest.raises(ConfigError, match="another daemon listens"):
            unix_listener(path, "root", explicit=True)


def test_a_file_in_the_way_is_left_alone(short):
    (short / "s").write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        unix_listener(str(short / "s"), "root", explicit=True)
    assert (short / "s").read_text() == "precious"


def test_a_path_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="too long"):
        unix_listener(str(tmp_path / ("x" * 110)), "root", explicit=True)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0"])
def test_tcp_without_verified_tls_is_refused_beyond_loopback(address):
    if address == ":0":
        address = "0.0.0.0:2375"
    for given in ({}, {"tls": True}):
        with pytest.raises(ConfigError, match="without --tlsverify"):
            tcp_listener(address, configured(**given))


def test_tcp_on_loopback_is_allowed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tcp_listener(f"127.0.0.1:{port}", configured()) as sock:
        assert sock.getsockname() == ("127.0.0.1", port)


def test_clients_that_are_gone_without_a_word_are_noticed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tcp_listener(f"127.0.0.1:{port}", configured()) as sock:
        sock.setblocking(True)
        sock.listen()
        with socket.create_connection(("127.0.0.1", port)), sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15


@pytest.mark.parametrize("host", ["ftp://x", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:1/path", "fd://"])
def test_other_hosts_are_refused(host):
    with pytest.raises(ConfigError):
        open_listeners(configured(hosts=[host]))


def test_one_bad_host_leaves_none_open(short):
    with pytest.raises(ConfigError):
        open_listeners(configured(hosts=[f"unix://{short}/s", "ftp://x"]))
    assert not (short / "s").exists()


def roots(directory):
    return configured(data_root=str(directory / "data"), exec_root=str(directory / "run"))


def test_two_daemons_on_one_root_are_refused_with_the_way_out(tmp_path):
    with exclusive(roots(tmp_path)):
        with pytest.raises(ConfigError) as caught, exclusive(roots(tmp_path)):
            pass
        assert caught.value.message == (
            f"failed to start daemon: another daemon (process {os.getpid()}) uses {tmp_path}/data"
        )
        assert "--data-root" in caught.value.hint
        other = configured(data_root=str(tmp_path / "data2"), exec_root=str(tmp_path / "run"))
        with pytest.raises(ConfigError, match="run"), exclusive(other):
            pass
    with exclusive(roots(tmp_path)):
        pass


def test_roots_are_closed_to_others(tmp_path):
    with exclusive(roots(tmp_path)):
        assert stat.S_IMODE(os.stat(tmp_path / "data").st_mode) == 0o710
        assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == 0o711


def test_a_pidfile_names_the_process_and_goes_with_it(tmp_path):
    path = tmp_path / "pid"
    path.write_text("999999999\n")  # of a daemon that is gone
    with pidfile(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_pidfile_of_a_living_process_is_refused(tmp_path):
    path = tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            path.write_text(str(process.pid))
            with pytest.raises(ConfigError, match=f"process with PID {process.pid} is still running"), pidfile(path):
                pass
            assert path.read_text() == str(process.pid)
        finally:
            process.kill()


def test_stop_says_when_nobody_listens(short):
    with pytest.raises(NotFound, match="no daemon listens"):
        stop(configured(hosts=[f"unix://{short}/s"]))
