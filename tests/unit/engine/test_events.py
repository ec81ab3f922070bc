"""Events as clients ask for them."""

import pytest

from corten.engine.event_filter import EventFilter
from corten.engine.events import Event, Events
from corten.errors import InvalidArgument
from corten.lib import codec
from corten.spec.docker.system import event_message

CONTAINER = Event(
    kind="container", action="start", actor="0123abcd", attributes={"name": "web", "image": "busybox:1", "a": "b"}
)
EXEC = Event(kind="container", action="exec_create: ls -l", actor="0123abcd", attributes={})
IMAGE = Event(kind="image", action="pull", actor="busybox:1", attributes={"name": "busybox"})
VOLUME = Event(kind="volume", action="create", actor="data", attributes={"driver": "local"})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [CONTAINER, EXEC, IMAGE, VOLUME]),
        ({"type": ["container"]}, [CONTAINER, EXEC]),
        ({"type": ["container", "volume"]}, [CONTAINER, EXEC, VOLUME]),
        ({"event": ["start"]}, [CONTAINER]),
        ({"event": ["exec_create"]}, [EXEC]),
        ({"event": ["exec"]}, []),
        ({"container": ["web"]}, [CONTAINER]),
        ({"container": ["0123"]}, [CONTAINER, EXEC]),
        ({"container": ["web"], "event": ["stop"]}, []),
        ({"image": ["busybox"]}, [CONTAINER, IMAGE]),
        ({"image": ["busybox:1"]}, [CONTAINER, IMAGE]),
        ({"image": ["busybox:2"]}, []),
        ({"label": ["a"]}, [CONTAINER]),
        ({"label": ["a=b"]}, [CONTAINER]),
        ({"label": ["a=c"]}, []),
        ({"label": ["a", "x"]}, []),
        ({"volume": ["data"]}, [VOLUME]),
        ({"scope": ["local"]}, [CONTAINER, EXEC, IMAGE, VOLUME]),
        ({"scope": ["swarm"]}, []),
    ],
)
def test_filters(filters, expected):
    chosen = EventFilter(filters)
    assert [event for event in (CONTAINER, EXEC, IMAGE, VOLUME) if chosen.matches(event)] == expected


def test_unknown_filters_are_refused():
    with pytest.raises(InvalidArgument, match="invalid filter 'bogus'"):
        EventFilter({"bogus": ["x"]})


def test_a_containers_event_has_the_old_fields_too():
    message = codec.to_plain(event_message("container", "start", "id", {"image": "busybox"}, 1_500_000_000))
    assert message == {
        "status": "start", "id": "id", "from": "busybox", "Type": "container", "Action": "start",
        "Actor": {"ID": "id", "Attributes": {"image": "busybox"}}, "scope": "local", "time": 1, "timeNano": 1_500_000_000,
    }  # fmt: skip
    assert "status" not in codec.to_plain(event_message("volume", "create", "v", {}, 0))


async def test_a_subscriber_that_does_not_take_loses_the_oldest():
    events = Events()
    queue = events.subscribe()
    for number in range(2000):
        events.publish("container", str(number), "x")
    assert queue.qsize() == 1024
    assert queue.get_nowait().action == "976"
    assert next(event.action for event in events.past()) == "1744"
    events.unsubscribe(queue)
    assert events.subscribers == 0
