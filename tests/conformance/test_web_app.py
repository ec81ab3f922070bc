"""Real programs by docker compose: nginx before three replicas of a web application in Python, redis beside them.

Names resolve, the database's network is closed, and whatever becomes of replicas under load, no request fails.
"""

import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.lab import webapp
from tests.lab.daemon import Daemon

APPS = [webapp.BY_NAME, webapp.BY_ADDRESS]
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
        return str(reply.read(), "utf-8")


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


def serves(stack: webapp.Stack, *members: str) -> None:
    """The front asks these and nobody else, none of them in vain."""
    expected = {f"200 {member}:8000" for member in members}

    def settled() -> bool:
        latest = stack.asked(LATEST)
        return len(latest) == LATEST and set(latest) == expected

    webapp.until(settled, f"the front asks {stack.asked(20)} instead of {expected}")


def spread_from_now(stack: webapp.Stack) -> Counter[str]:
    """How often each of those whom the front asks is asked."""
    begun = len(stack.asked())
    webapp.until(lambda: len(stack.asked()) >= begun + 2 * LATEST, "the front asks nobody")
    return Counter(stack.asked()[begun:])


def assert_even(counts: Counter[str]) -> None:
    """Within a tenth of even."""
    even = counts.total() / len(counts)
    assert all(abs(count - even) <= even / 10 for count in counts.values()), counts


def test_no_request_fails_while_replicas_are_killed_added_and_stopped(stack: webapp.Stack) -> None:
    daemon = stack.daemon
    with webapp.Load(daemon, stack.url) as load:
        one, two, three = (stack.address(f"shop-app-{number}", "front") for number in (1, 2, 3))
        serves(stack, one, two, three)
        daemon.docker("kill", "shop-app-2")
        answered = time.monotonic() + webapp.TIMEOUTS_S  # or given up: what it was asked when it was killed
        serves(stack, one, three)
        webapp.until(lambda: time.monotonic() > answered, "time stands still")
        cut_off = failures(stack)
        stack.scale(4)
        again, four = (stack.address(f"shop-app-{number}", "front") for number in (2, 4))
        serves(stack, one, again, three, four)
        spread = spread_from_now(stack)
        daemon.docker("stop", "shop-app-1")
        serves(stack, again, three, four)
    if stack.app.again:
        assert cut_off == 0
        assert min(spread.values()) > LATEST / 4, spread
    else:
        assert cut_off <= webapp.CONNECTIONS  # what it was answering when it was killed
        assert_even(spread)
    assert failures(stack) == load.errors == cut_off
    assert load.requests > 10 * LATEST
    assert int(daemon.out("exec", "shop-database-1", "redis-cli", "get", "hits")) >= load.requests - cut_off
    assert daemon.inspect("shop-app-1")["State"]["ExitCode"] == 0
    stack.scale(3)


def failures(stack: webapp.Stack) -> int:
    """Requests to the front that were not answered as they should be; 499 is the load that has ended."""
    return sum(entry.split()[0] not in ("200", "499") for entry in stack.asked())


@pytest.mark.parametrize("stack", [webapp.BY_ADDRESS], ids=["by-address"], indirect=True)
def test_replicas_share_a_port_of_the_host_while_they_come_and_go(stack: webapp.Stack) -> None:
    daemon, url = stack.daemon, f"http://127.0.0.1:{stack.app.port}/"

    def got(*numbers: int) -> Counter[str]:
        """What these have got from now on, when it is enough to tell."""
        before = stack.connections()
        more: Counter[str] = Counter()

        def enough() -> bool:
            nonlocal more
            more = Counter({name: count - before[name] for name, count in stack.connections().items()})
            return more.total() >= LATEST

        webapp.until(enough, f"the host's port leads nowhere: {more}")
        assert set(+more) == {f"shop-app-{number}" for number in numbers}
        return +more

    with webapp.Load(daemon, url) as load:
        assert_even(got(1, 2, 3))
        daemon.docker("kill", "shop-app-2")
    assert load.errors <= webapp.CONNECTIONS  # what it was answering when it was killed
    with webapp.Load(daemon, url) as load:
        assert_even(got(1, 3))
        stack.scale(4)
        assert_even(got(1, 2, 3, 4))
        daemon.docker("stop", "shop-app-1")
        assert_even(got(2, 3, 4))
    assert load.errors == 0
    assert load.requests > 4 * LATEST
