"""How long the daemon waits before it puts rules back: at once when alone, ever longer in a fight."""

from corten.network.firewall_watch import Patience


def test_the_first_repair_comes_within_a_second_and_a_fight_slows_down():
    patience = Patience()
    now, delays = 0.0, []
    for _ in range(15):
        delays.append(patience.next_delay(now))
        now += delays[-1]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == 30.0
    assert sum(1 for delay in delays if delay < 1) <= 7


def test_after_a_calm_time_the_next_repair_is_quick_again():
    patience = Patience()
    for _ in range(8):
        slow = patience.next_delay(0.0)
    assert slow > 1
    assert patience.next_delay(60.0) == 0
