"""Links on the default bridge: how they are written, and the variables they bring."""

import pytest

from corten.engine.containers.links import Link, parse_link, variables
from corten.engine.containers.live import Container
from corten.engine.containers.record import ContainerRecord
from corten.spec.docker.container import ContainerConfig
from corten.spec.docker.hostconfig import HostConfig


def linked(ports: list[str], env: list[str]) -> list[str]:
    record = ContainerRecord(
        id="a" * 64,
        name="db",
        created_ns=0,
        image_id="",
        chain_id="",
        config=ContainerConfig(exposed_ports={port: {} for port in ports}, env=env),
        host_config=HostConfig(),
        path="sh",
        args=[],
    )
    return variables("web", Link(other=Container(record), alias="my-db", address="172.17.0.2"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db", ("db", "db")),
        ("/db", ("/db", "db")),
        ("db:store", ("db", "store")),
        ("db:", ("db", "db")),
        ("/db:/web/store", ("/db", "store")),
    ],
)
def test_the_ways_to_write_a_link(text: str, expected: tuple[str, str]) -> None:
    assert parse_link(text) == expected


def test_a_container_without_ports_brings_its_name_and_what_it_was_given() -> None:
    env = ["PATH=/bin", "HOME=/root", "HOMEPAGE=x", "MODE=a=b", "bare"]
    assert linked([], env) == ["MY_DB_NAME=/web/my-db", "MY_DB_ENV_HOMEPAGE=x", "MY_DB_ENV_MODE=a=b"]


def test_the_lowest_port_is_the_one_and_tcp_before_udp() -> None:
    assert linked(["90/udp", "53/udp", "53/tcp"], [])[0] == "MY_DB_PORT=tcp://172.17.0.2:53"
    assert linked(["443", "22/udp"], [])[0] == "MY_DB_PORT=udp://172.17.0.2:22"


@pytest.mark.parametrize(
    ("ports", "ranges"),
    [
        (["80", "81"], []),
        (["80", "81", "82", "90"], ["MY_DB_PORT_80_TCP_PORT_START=80", "MY_DB_PORT_80_TCP_PORT_END=82"]),
        (["80", "81/udp", "82"], []),
        (
            ["1", "2", "3", "7", "8", "9", "10"],
            [
                "MY_DB_PORT_1_TCP_PORT_START=1",
                "MY_DB_PORT_1_TCP_PORT_END=3",
                "MY_DB_PORT_7_TCP_PORT_START=7",
                "MY_DB_PORT_7_TCP_PORT_END=10",
            ],
        ),
    ],
)
def test_three_ports_in_a_row_are_a_range_too(ports: list[str], ranges: list[str]) -> None:
    assert [text for text in linked(ports, []) if "_PORT_START=" in text or "_PORT_END=" in text] == ranges


def test_what_is_no_port_is_left_out() -> None:
    assert linked(["odd/tcp"], []) == ["MY_DB_NAME=/web/my-db"]
