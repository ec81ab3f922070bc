"""Numbers of containers: samples from cgroups, processes as ps(1) shows them."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine import host
from corten.engine.containers.processes import COLUMNS, columns_of, list_processes, parse_stat, read_process
from corten.engine.containers.stats import fill, parse_net_dev
from corten.errors import InvalidArgument
from corten.lib import codec
from corten.linux.cgroup.stats import v1_stats, v2_stats
from corten.spec.docker.stats import ContainerStats

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:     516       6    1    2    0     0          0         0      700       8    3    4    0     0       0          0
"""


def test_interfaces_without_loopback():
    networks = parse_net_dev(NET_DEV)
    assert list(networks) == ["eth0"]
    assert codec.to_plain(networks["eth0"]) == {
        "rx_bytes": 516, "rx_packets": 6, "rx_errors": 1, "rx_dropped": 2,
        "tx_bytes": 700, "tx_packets": 8, "tx_errors": 3, "tx_dropped": 4,
    }  # fmt: skip


@given(st.text(max_size=300))
def test_no_text_of_the_kernel_crashes(text):
    parse_net_dev(text)


def sample(stats):
    result = ContainerStats(name="/x", id="y")
    fill(result, stats)
    return codec.to_plain(result)


def test_a_v2_sample_has_dockers_form(tmp_path):
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\n")
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.stat").write_text("inactive_file 10\n")
    (tmp_path / "pids.current").write_text("3\n")
    (tmp_path / "pids.max").write_text("max\n")
    (tmp_path / "io.stat").write_text("8:0 rbytes=1 wbytes=2 rios=3 wios=4\n")
    found = sample(v2_stats(str(tmp_path)))
    assert found["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5000, "usage_in_kernelmode": 2000, "usage_in_usermode": 3000
    }  # fmt: skip
    assert found["memory_stats"] == {"usage": 4096, "stats": {"inactive_file": 10}, "limit": host.memory_total()}
    assert found["pids_stats"] == {"current": 3, "limit": 2**64 - 1}
    blkio = found["blkio_stats"]
    assert {"major": 8, "minor": 0, "op": "write", "value": 2} in blkio["io_service_bytes_recursive"]
    assert blkio["sectors_recursive"] is None


def test_a_v1_sample_has_dockers_form(tmp_path):
    (tmp_path / "cpuacct.usage").write_text("500\n")
    (tmp_path / "cpuacct.usage_percpu").write_text("200 300\n")
    (tmp_path / "memory.usage_in_bytes").write_text("4096\n")
    (tmp_path / "memory.limit_in_bytes").write_text("8192\n")
    (tmp_path / "memory.stat").write_text("total_inactive_file 10\n")
    (tmp_path / "pids.current").write_text("3\n")
    (tmp_path / "pids.max").write_text("max\n")
    found = sample(v1_stats(dict.fromkeys(("cpu", "cpuacct", "memory", "pids", "blkio"), str(tmp_path))))
    assert found["cpu_stats"]["cpu_usage"]["percpu_usage"] == [200, 300]
    assert (found["memory_stats"]["limit"], found["memory_stats"]["failcnt"]) == (8192, 0)
    assert found["pids_stats"] == {"current": 3}


def test_a_stopped_container_is_all_zero():
    empty = codec.to_plain(ContainerStats(name="/x", id="y"))
    assert empty["read"] == "0001-01-01T00:00:00Z"
    assert empty["memory_stats"] == {}
    assert "networks" not in empty


# -- ps


@given(st.text(max_size=40).filter(lambda text: "\n" not in text))
def test_a_name_with_parentheses_and_spaces_does_not_shift_the_fields(comm):
    assert parse_stat(f"12 ({comm}) S 1 2 3") == (comm, ["S", "1", "2", "3"])


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "1000"]) as process:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # the kernel fills it in a moment after execve
            time.sleep(0.001)
        yield process.pid
        process.kill()


def test_the_default_form(sleeper):
    table = list_processes(lambda: [sleeper], "-ef")
    assert table.titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    row = dict(zip(table.titles, table.processes[0], strict=True))
    assert (row["UID"], row["PID"], row["PPID"], row["CMD"]) == ("root", str(sleeper), str(os.getpid()), "sleep 1000")
    assert row["TIME"] == "00:00:00"


def test_other_forms(sleeper):
    assert list_processes(lambda: [sleeper], "aux").titles == [
        "USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"
    ]  # fmt: skip
    assert list_processes(lambda: [sleeper], "-eo pid,comm,args=WHAT").titles == ["PID", "COMMAND", "WHAT"]
    assert list_processes(lambda: [sleeper], "-o pid -o user").processes == [[str(sleeper), "root"]]
    assert list_processes(lambda: [sleeper], "").titles == ["PID", "TTY", "TIME", "CMD"]


def test_every_column_has_a_value(sleeper):
    table = list_processes(lambda: [sleeper], "-o " + ",".join(COLUMNS))
    assert all(table.processes[0])


def test_processes_that_ended_are_left_out(sleeper):
    assert len(list_processes(lambda: [sleeper, 2**22 + 1], "-ef").processes) == 1
    assert read_process(2**22 + 1, 0, 0) is None


@pytest.mark.parametrize("options", ["-Z", "--sort=pid", "-o nonsense", "-o", "'", "-e -x", "$(id)"])
def test_other_options_are_refused(options):
    with pytest.raises(InvalidArgument):
        columns_of(options)


def test_a_table_without_pids_is_refused_as_docker_does(sleeper):
    with pytest.raises(InvalidArgument, match="Couldn't find PID field in ps output"):
        list_processes(lambda: [sleeper], "-o user")


@given(st.text(max_size=30))
def test_no_option_crashes(options):
    with contextlib.suppress(InvalidArgument):
        columns_of(options)


def test_what_a_process_calls_itself_cannot_break_a_line():
    program = "import time; open('/proc/self/comm','w').write('a)b\\tc'); print('ready', flush=True); time.sleep(1000)"
    with subprocess.Popen(["python3", "-c", program, "x\ny"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = read_process(process.pid, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())
        process.kill()
    assert found.comm == "a)b\tc"
    assert "\n" not in found.cmdline
