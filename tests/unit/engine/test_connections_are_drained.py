"""Which of a namespace's connections a stop waits for."""

from corten.engine.networks.draining import incoming

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
LISTENING = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1"
LISTENING6 = (
    "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000"
)


def connection(port, state):
    return f"   1: 020012AC:{port:04X} 030012AC:D2F0 {state} 00000000:00000000 00:00000000 00000000     0        0 2"


def test_only_what_others_have_opened_counts():
    opened_by_itself = connection(40000, "01")
    assert incoming([HEAD, LISTENING, opened_by_itself]) == 0
    assert incoming([HEAD, LISTENING, opened_by_itself, connection(80, "01"), connection(80, "01")]) == 2


def test_what_may_have_data_under_way_counts_and_what_is_over_does_not():
    for state in ("01", "03", "04", "08"):
        assert incoming([LISTENING, connection(80, state)]) == 1
    for state in ("02", "05", "06", "07", "09", "0A", "0B"):
        assert incoming([LISTENING, connection(80, state)]) == 0


def test_a_listener_of_both_families_is_found_in_the_other_table():
    assert incoming([HEAD, LISTENING6, HEAD, connection(8080, "01")]) == 1


def test_lines_that_are_none_are_passed_over():
    assert incoming(["", "x", "a b c d", HEAD]) == 0
