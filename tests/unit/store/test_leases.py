"""What is held is not deleted, by whomever and however often it is held."""

from __future__ import annotations

import threading

from corten.store.leases import Leases


def deleted(leases: Leases, key: str) -> bool:
    gone: list[str] = []
    assert leases.unless_held(key, lambda: gone.append(key)) == bool(gone)
    return bool(gone)


def test_a_key_is_held_until_the_last_lease_ends() -> None:
    leases = Leases()
    with leases.hold(["a", "b"]):
        with leases.hold(["a"]) as lease:
            lease.add("c")
            assert leases.held() == {"a", "b", "c"}
        assert not deleted(leases, "a")
        assert deleted(leases, "c")
    assert leases.held() == frozenset()
    assert deleted(leases, "a")


def test_a_lease_ends_with_an_exception() -> None:
    leases = Leases()
    try:
        with leases.hold(["a"]):
            raise KeyError
    except KeyError:
        assert leases.held() == frozenset()


def test_no_lease_begins_while_something_is_deleted() -> None:
    leases, begun, order = Leases(), threading.Event(), []

    def delete() -> None:
        begun.set()
        thread.join(0.05)  # it waits for us: it must not come to its end
        order.append("deleted")

    def take() -> None:
        begun.wait()
        with leases.hold(["a"]):
            order.append("held")

    thread = threading.Thread(target=take)
    thread.start()
    assert leases.unless_held("a", delete)
    thread.join()
    assert order == ["deleted", "held"]
