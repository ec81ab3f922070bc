import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.clock import human_duration, rfc3339
from corten.engine.containers.names import random_name
from corten.engine.containers.restart import MAX_DELAY_S, check_policy, next_delay, wants_restart
from corten.engine.containers.signals import parse_signal
from corten.engine.containers.status import TRANSITIONS, ContainerStatus, Event, Status, transition
from corten.engine.containers.summary import status_text
from corten.errors import Conflict, InvalidArgument, NotModified
from corten.spec.docker.hostconfig import RestartPolicy

S = 1_000_000_000


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)))
def test_every_event_in_every_state_is_a_transition_or_a_refusal(status, event):
    if (status, event) in TRANSITIONS:
        assert transition(status, event, cid="c", name="n") is TRANSITIONS[status, event]
        return
    with pytest.raises((Conflict, NotModified), match=r"^[^{}]+$"):
        transition(status, event, cid="c", name="n")


def test_refusals_in_dockers_words():
    with pytest.raises(Conflict, match='cannot remove container "/n": container is restarting: stop the container'):
        transition(Status.RESTARTING, Event.REMOVE, cid="c", name="n")
    with pytest.raises(Conflict, match="removal of container n is already in progress"):
        transition(Status.REMOVING, Event.REMOVE, cid="c", name="n")
    with pytest.raises(Conflict, match="container c is not running"):
        transition(Status.EXITED, Event.PAUSE, cid="c", name="n")


@pytest.mark.parametrize(
    ("status", "health", "text"),
    [
        (ContainerStatus(), "", "Created"),
        (ContainerStatus(status=Status.RUNNING, started_ns=97 * S), "", "Up 3 seconds"),
        (ContainerStatus(status=Status.RUNNING, started_ns=97 * S), "healthy", "Up 3 seconds (healthy)"),
        (ContainerStatus(status=Status.RUNNING, started_ns=97 * S), "starting", "Up 3 seconds (health: starting)"),
        (ContainerStatus(status=Status.PAUSED, started_ns=40 * S), "healthy", "Up About a minute (Paused)"),
        (
            ContainerStatus(status=Status.EXITED, started_ns=1, finished_ns=99 * S, exit_code=137),
            "",
            "Exited (137) 1 second ago",
        ),
        (
            ContainerStatus(status=Status.RESTARTING, started_ns=1, finished_ns=100 * S, exit_code=1),
            "",
            "Restarting (1) Less than a second ago",
        ),
        (ContainerStatus(status=Status.DEAD, started_ns=1), "", "Dead"),
        (ContainerStatus(status=Status.REMOVING, started_ns=1), "", "Removal In Progress"),
    ],
)
def test_the_status_column(status, health, text):
    assert status_text(status, health, 100 * S) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (59, "59 seconds"),
        (119, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_for_people(seconds, text):
    assert human_duration(int(seconds * S)) == text


def test_times_of_the_api():
    assert rfc3339(0) == "0001-01-01T00:00:00Z"
    assert rfc3339(1_500_000_000) == "1970-01-01T00:00:01.5Z"


@given(st.lists(st.floats(min_value=0, max_value=9), min_size=1, max_size=30))
def test_the_pause_between_runs_doubles_to_a_minute(runs):
    delay = 0.0
    for ran in runs:
        before, delay = delay, next_delay(delay, ran_s=ran)
        assert delay == (0.1 if before == 0 else min(before * 2, MAX_DELAY_S))
    assert next_delay(delay, ran_s=10) == 0.1


@pytest.mark.parametrize(
    ("name", "limit", "code", "count", "stopped", "again"),
    [
        ("no", 0, 1, 0, False, False),
        ("", 0, 1, 0, False, False),
        ("always", 0, 0, 99, False, True),
        ("always", 0, 0, 0, True, True),
        ("unless-stopped", 0, 0, 0, False, True),
        ("unless-stopped", 0, 0, 0, True, False),
        ("on-failure", 0, 0, 0, False, False),
        ("on-failure", 0, 1, 99, False, True),
        ("on-failure", 2, 1, 1, False, True),
        ("on-failure", 2, 1, 2, False, False),
    ],
)
def test_restart_policies(name, limit, code, count, stopped, again):
    policy = RestartPolicy(name=name, maximum_retry_count=limit)
    assert wants_restart(policy, exit_code=code, restart_count=count, manually_stopped=stopped) is again


def test_policies_that_are_refused():
    for policy, text in (
        (RestartPolicy(name="sometimes"), "unknown policy 'sometimes'"),
        (RestartPolicy(name="always", maximum_retry_count=1), "can only be used with 'on-failure'"),
        (RestartPolicy(name="on-failure", maximum_retry_count=-1), "cannot be negative"),
    ):
        with pytest.raises(InvalidArgument, match=text):
            check_policy(policy, auto_remove=False)
    with pytest.raises(InvalidArgument, match="can't create 'AutoRemove' container with restart policy"):
        check_policy(RestartPolicy(name="always"), auto_remove=True)


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("sigkill", 9), ("15", 15), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("64", 64)]
)
def test_signals(text, number):
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "NOPE", "SIG", "RTMIN+", "RTMIN+99", "RTMAX+1", "\u0661", "9 9"])
def test_any_other_text_is_an_invalid_signal(text):
    with pytest.raises(InvalidArgument, match="invalid signal: "):
        parse_signal(text)


def test_names_are_free_and_well_formed():
    import random
    import re

    rng = random.Random(1)
    taken = {random_name(lambda _name: False, rng) for _ in range(100)}
    name = random_name(lambda text: text in taken or not text[-1].isdigit(), rng)
    assert name not in taken
    assert all(re.fullmatch(r"[a-z]+_[a-z]+[0-9]*", text) for text in [*taken, name])
