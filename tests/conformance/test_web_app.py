"""Real programs by docker compose: nginx before three replicas of a web application in Python, redis beside them.

Names resolve, the database's network is closed, and whatever becomes of replicas under load, no request fails.
"""

import re
import urllib.request
from collections.abc import Iterator

import pytest
from tests.lab import webapp
from tests.lab.daemon import Daemon

APPS = [webapp.BY_NAME]
LATEST = 300  # requests that tell whom the front asks now


@pytest.fixture(scope="module")
def engine(daemon: Daemon) -> Daemon:
    webapp.load_images(daemon)
    return daemon


@pytest.fixture(scope="module", params=APPS, ids=lambda app: app.name)
def stack(
    engine: Daemon, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[webapp.Stack]:
    """Three replicas that serve; nothing of them is left."""
    one = webapp.Stack(engine, tmp_path_factory.mktemp("shop"), request.param)
    before = engine.out("network", "ls", "-q")
    try:
        one.scale(3)
        yield one
    finally:
        one.compose("down", "-t", "1", "-v")
    assert engine.out("ps", "-aq") == ""
    assert engine.out("volume", "ls", "-q") == ""
    assert engine.out("network", "ls", "-q") == before


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as reply:
        return reply.read().decode()


def reaches(daemon: Daemon, container: str, address: str, port: int) -> bool:
    connect = f"timeout 1 bash -c '</dev/tcp/{address}/{port}'"
    return daemon.docker("exec", container, "bash", "-c", connect, check=False).returncode == 0


def test_compose_shows_logs_and_enters_what_it_has_made(stack: webapp.Stack) -> None:
    rows = stack.compose("ps", "--format", "{{.Service}} {{.State}} {{.Health}}").splitlines()
    assert sorted(rows) == ["app running healthy"] * 3 + ["database running healthy", "front running "]
    assert stack.compose("--ansi", "never", "logs", "--no-log-prefix", "app").count("serving") == 3
    assert stack.compose("exec", "-T", "--index", "2", "app", "hostname").strip() == stack.daemon.out(
        "inspect", "-f", "{{.Config.Hostname}}", "shop-app-2"
    )
    assert stack.compose("port", "front", "80").strip() == stack.url.removeprefix("http://").rstrip("/")


def test_replicas_answer_by_way_of_the_front_and_count_in_one_database(stack: webapp.Stack) -> None:
    answers = [fetch(stack.url).split() for _ in range(60)]
    hosts = {stack.daemon.out("inspect", "-f", "{{.Config.Hostname}}", f"shop-app-{n}") for n in (1, 2, 3)}
    assert {host for host, _count in answers} == hosts
    counts = [int(count) for _host, count in answers]
    assert counts == sorted(set(counts))


def test_the_database_is_found_in_its_own_network_and_reached_from_nowhere_else(stack: webapp.Stack) -> None:
    daemon, database = stack.daemon, "shop-database-1"
    address = stack.address(database, "back")
    assert daemon.out("exec", "shop-app-1", "getent", "ahostsv4", "database").split()[0] == address
    assert daemon.docker("exec", "shop-front-1", "getent", "hosts", "database", check=False).returncode == 2
    assert reaches(daemon, "shop-app-1", address, 6379)
    assert not reaches(daemon, "shop-front-1", address, 6379)
    daemon.docker("run", "-d", "--init", "--name", "stranger", "nginx", "sleep", "1000")
    assert not reaches(daemon, "stranger", address, 6379)
    daemon.docker("rm", "-f", "stranger")
    assert daemon.inspect(database)["NetworkSettings"]["Ports"] == {"6379/tcp": None}
    routes = daemon.out("exec", database, "cat", "/proc/net/route").splitlines()[1:]
    assert [row.split()[1] for row in routes if row.split()[1] == "00000000"] == []


def test_no_request_fails_while_replicas_are_killed_added_and_stopped(stack: webapp.Stack) -> None:
    daemon = stack.daemon
    load = webapp.Load(daemon, stack.url)

    def serves(*members: str) -> None:
        """The front asks these and nobody else, none of them in vain."""
        expected = set(members)

        def settled() -> bool:
            latest = stack.asked(LATEST)
            return len(latest) == LATEST and {entry.partition(" ")[2] for entry in latest} == {
                f"{member}:8000" for member in expected
            }

        webapp.until(settled, f"the front asks {stack.spread(LATEST)} instead of {expected}")

    try:
        one, two, three = (stack.address(f"shop-app-{number}", "front") for number in (1, 2, 3))
        serves(one, two, three)
        daemon.docker("kill", "shop-app-2")
        serves(one, three)
        stack.scale(4)
        again, four = (stack.address(f"shop-app-{number}", "front") for number in (2, 4))
        serves(one, again, three, four)
        spread = stack.spread(2 * LATEST)
        daemon.docker("stop", "shop-app-1")
        serves(again, three, four)
    finally:
        report = load.end()
    assert min(spread.values()) > LATEST / 4, spread
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    answered = int(re.search(r"(\d+) requests in", report)[1])
    assert answered > 10 * LATEST
    assert {entry.split()[0] for entry in stack.asked()} <= {"200", "499"}
    assert int(daemon.out("exec", "shop-database-1", "redis-cli", "get", "hits")) >= answered
    assert daemon.inspect("shop-app-1")["State"]["ExitCode"] == 0
