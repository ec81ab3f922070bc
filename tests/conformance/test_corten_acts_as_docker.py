"""Both clients, the real docker and Corten's, on one engine: the same words lead to the same output and exit status."""

from __future__ import annotations

import re
import shlex
import sys

import pexpect
import pytest
from tests.lab.daemon import _SOURCE, Daemon, docker_cli

# Steps of a case are separated by " ;; "; those that begin with ~ only wait or clean up.
_CASES = """
run --rm busybox sh -c 'echo out; echo err >&2; exit 3'
run --rm busybox nosuch
run --rm busybox /etc
run --rm busybox --help
run -i --rm busybox cat
run -a stdin -a stdout -i --rm busybox cat
run -a stdout --rm busybox sh -c 'echo o; echo e >&2'
run -a stderr --rm busybox sh -c 'echo o; echo e >&2'
run -t --rm busybox sh -c 'echo a; echo b >&2'
run -it --rm busybox true
run -d -a stdout busybox true
run --pull never --rm nosuchimage:1 true
run --rm --platform linux/arm64 busybox true
run --rm busybox sh -c 'kill -9 $$'
run --rm --init busybox sh -c 'kill -TERM $$'
run -i --rm busybox sh -c 'exec <&-; echo x'
run --rm -e A=1 -e B -h host -w /tmp -u 5 busybox sh -c 'echo $A $B; hostname; pwd; id -u'
run --rm --network nosuchnet busybox true
run --rm --network container:nosuch busybox true
run --rm --volumes-from nosuch busybox true
run --rm --runtime nosuch busybox true
run --rm --security-opt bogus busybox true
run --rm --mount type=bind,src=/nonexist,dst=/x busybox true
create --mount type=bind,src=/nonexist,dst=/x busybox
create --name twice busybox ;; create --name twice busybox ;; rm twice
create --name box -i busybox cat ;; start -ai box ;; rm box
create --name box busybox sh -c 'echo hi; exit 4' ;; start -a box ;; start box ;; wait box ;; logs -f box ;; rm box
run -d --name box busybox sh -c 'sleep 1; echo hi; exit 5' ;; attach box ;; ~wait box ;; attach box ;; rm box
run -d --name box --init busybox sleep 100 ;; exec box echo hi ;; exec box sh -c 'exit 7' ;; exec box nosuch ;; ~rm -f box
run -d --name box --init busybox sleep 100 ;; exec -i box cat ;; exec -d box true ;; exec -t box tty ;; exec -it box x ;; ~rm -f box
run -d --name box --init busybox sleep 100 ;; exec -w /tmp box pwd ;; exec -e A=1 box sh -c 'echo $A' ;; exec -u no box id ;; ~rm -f box
run -d --name box --init busybox sleep 100 ;; pause box ;; pause box ;; exec box true ;; unpause box ;; unpause box ;; ~rm -f box
run -d --name box --init busybox sleep 100 ;; kill -s BOGUS box ;; kill box ;; ~wait box ;; kill box ;; wait box nosuch ;; rm box nosuch
run -d --name box --init busybox sleep 100 ;; rm box ;; stop box ;; stop box ;; restart -t 0 box nosuch ;; rename box other ;; rename other /bad/x ;; ~rm -f box other
run -d --name box --init busybox sleep 100 ;; update -m 64m --memory-swap 128m box ;; update --restart bogus box ;; update --cpus x box ;; ~rm -f box
run --name box busybox sh -c 'echo a; echo b; echo c' ;; logs --tail 1 box ;; logs --tail 0 box ;; logs --since bogus box ;; logs --until 1h box ;; ~rm box
run -d --name box --init busybox sleep 100 ;; pause box ;; attach box ;; ~rm -f box
pull 127.0.0.1:1/x
tag busybox 127.0.0.1:1/x:1 ;; push 127.0.0.1:1/x:1 ;; rmi 127.0.0.1:1/x:1
save nosuch
load
import - x:1
logs nosuch
exec nosuch true
start nosuch
start -a nosuch
attach nosuch
wait nosuch
kill nosuch
rm nosuch
rm -f nosuch
update -m 64m nosuch
""".strip().splitlines()
_CORTEN = [sys.executable, "-I", "-S", str(_SOURCE / "corten/__main__.py")]


def _comparable(text: str) -> str:
    """Without ids, names made up by the engine, and the program's own name."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "<id>", text)
    for theirs, ours in (("docker: ", "corten: "), ("'docker ", "'corten "), ("  docker ", "  corten ")):
        text = text.replace(theirs, ours)
    return text


@pytest.mark.parametrize("case", _CASES)
def test_output_and_status_are_dockers(daemon: Daemon, case: str) -> None:
    told: dict[str, list[tuple[int, str, str]]] = {"docker": [], "corten": []}
    for name, said in told.items():
        for step in case.split(" ;; "):
            words = shlex.split(step.lstrip("~"))
            done = getattr(daemon, name)(*words, check=False, input="typed\n")
            if not step.startswith("~"):
                said.append((done.returncode, _comparable(done.stdout), _comparable(done.stderr)))
    assert told["corten"] == told["docker"]


def _in_terminal(daemon: Daemon, client: str, *arguments: str) -> pexpect.spawn:
    argv = [docker_cli()] if client == "docker" else _CORTEN
    return pexpect.spawn(
        argv[0], [*argv[1:], "-H", daemon.host, *arguments], env=daemon.environment, dimensions=(33, 101),
        timeout=30, encoding="utf-8",
    )  # fmt: skip


def _end(terminal: pexpect.spawn) -> tuple[int | None, bool]:
    """The exit status, and whether the terminal is left as a shell wants it: keys shown, line by line."""
    terminal.expect(pexpect.EOF)
    terminal.wait()
    return terminal.exitstatus, "read escape sequence" in terminal.before


@pytest.mark.parametrize("client", ["docker", "corten"])
def test_a_terminal_can_be_used_left_and_come_back_to(daemon: Daemon, client: str) -> None:
    run = _in_terminal(daemon, client, "run", "--name", "tty", "-it", "busybox", "sh")
    try:
        run.expect("/ #")
        run.sendline("stty size")
        run.expect("33 101")
        run.expect("/ #")
        run.send("\x10\x11")
        assert _end(run) == (0, False)
        back = _in_terminal(daemon, client, "attach", "--detach-keys", "ctrl-a,x", "tty")
        back.expect("/ #")
        back.send("\x01x")
        assert _end(back) == (1, True)
        other = _in_terminal(daemon, client, "exec", "-it", "tty", "sh")
        other.expect("/ #")
        other.send("\x10\x11")
        assert _end(other) == (1, True)
        last = _in_terminal(daemon, client, "exec", "-it", "tty", "sh")
        last.expect("/ #")
        last.sendline("exit 9")
        assert _end(last) == (9, False)
    finally:
        daemon.docker("rm", "-f", "tty", check=False)


def test_the_terminal_is_given_back_as_it_was(daemon: Daemon) -> None:
    argv = shlex.join([*_CORTEN, "-H", daemon.host, "run", "--rm", "-it", "busybox", "sh"])
    shell = pexpect.spawn(
        "/bin/sh", ["-c", f"stty -a >{daemon.root}/before; {argv}; echo left $?; stty -a >{daemon.root}/after"],
        env=daemon.environment, timeout=30, encoding="utf-8",
    )  # fmt: skip
    shell.expect("/ #")
    shell.sendline("exit 6")
    shell.expect("left 6")
    shell.expect(pexpect.EOF)
    assert (daemon.root / "after").read_text() == (daemon.root / "before").read_text()


def test_interrupts_reach_the_container_and_its_status_comes_back(daemon: Daemon) -> None:
    script = "trap 'echo got; exit 5' INT; echo up; while :; do sleep 0.05; done"
    run = _in_terminal(daemon, "corten", "run", "--rm", "busybox", "sh", "-c", script)
    run.expect("up")
    run.sendintr()
    run.expect("got")
    assert _end(run)[0] == 5
