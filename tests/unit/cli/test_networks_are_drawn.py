"""`network graph`: what it asks, what the graph says, and that drawings keep their width and let no name out of its text."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.fake_engine import FakeEngine
from tests.unit.cli.graph_cases import BRIDGE, CONTAINERS, NETWORKS, PICTURE, container, network, place, port
from tests.unit.cli.recording import CORTEN, client

from corten.cli.network_graph.labels import cells, published
from corten.cli.network_graph.model import make_graph
from corten.cli.network_graph.svg import draw_svg
from corten.cli.network_graph.text import draw_text

WIDE = """\
apart  bridge  172.20.0.0/16  leads outside (NAT)  containers kept apart
├─ job  172.20.0.2
└─ old              exited

back  bridge  172.19.0.0/16  internal
├─ app1  172.19.0.2  as app  ✓ healthy  ⇄ front
├─ app2  172.19.0.3  as app  ✗ unhealthy  ⇄ front
└─ db    172.19.0.4  as database, store  … starting

front  bridge  172.18.0.0/16  fd00:1::/64  leads outside (IPv4 NAT, IPv6 routed)
├─ app1     172.18.0.3, fd00:1::3  as app  ✓ healthy  ⇄ back
├─ app2     172.18.0.4, fd00:1::4  as app  ✗ unhealthy  ⇄ back
├─ proxy    172.18.0.2, fd00:1::2  as www  *:8080 → 80/tcp  127.0.0.1:9000-9002 → 7000-7002/udp
└─ sidecar  172.18.0.2, fd00:1::2  by way of proxy

lan  macvlan  192.168.4.0/24  leads outside (eth0.50)
└─ camera  192.168.4.2
"""
SERVICES = [
    {
        "Name": name, "NetworkID": "id-of-front", "Addresses": addresses,
        "Members": [{"Name": "app1", "State": state}, {"Name": "app2", "State": "unhealthy"}],
    }
    for name, addresses, state in (
        ("shop", ["172.18.0.9", "fd00:1::9"], "serving"), ("idle", ["172.18.0.10"], "draining"), ("plain", [], "serving")
    )
]  # fmt: skip
NARROW = """\
front  bridge  172.18.0.0/16
  fd00:1::/64
  leads outside (IPv4 NAT, IP…
├─ app1
│    172.18.0.3, fd00:1::3
│    as app  ✓ healthy  ⇄ back
├─ app2
│    172.18.0.4, fd00:1::4
│    as app  ✗ unhealthy
│    ⇄ back
├─ proxy
│    172.18.0.2, fd00:1::2
│    as www  *:8080 → 80/tcp
│    127.0.0.1:9000-9002 → 70…
└─ sidecar
     172.18.0.2, fd00:1::2
     by way of proxy
"""
TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["</text><script>x</script>", "]]>", "<!--", "&lt;", "\x1b[2J", "\u202e", "\ud800", "名前" * 9, "\n├─ fake"]
)


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    served = FakeEngine(
        tmp_path / "s",
        {
            "GET /networks": (200, NETWORKS),
            "GET /networks/lan": (200, NETWORKS[3]),
            "GET /networks/none": (200, NETWORKS[5]),
            "GET /networks/nope": (404, {"message": "network nope not found"}),
            "GET /containers/json": (200, CONTAINERS),
        },
    )
    yield served
    served.close()


def said(engine: FakeEngine, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = client(CORTEN, engine, ["network", "graph", *arguments], folder)
    return done.returncode, done.stdout, done.stderr


def graph(networks: list[dict[str, Any]], containers: list[dict[str, Any]], *, asked: bool = False) -> Any:
    return make_graph(networks, containers, [], asked=asked)


def test_services_with_addresses_of_their_own_are_drawn(engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers["GET /corten/services"] = (200, SERVICES)
    text = said(engine, tmp_path)[1]
    assert "├─ ◆ idle   172.18.0.10            → nobody\n├─ ◆ shop   172.18.0.9, fd00:1::9  → app1\n├─ app1 " in text
    assert "plain" not in text
    assert text.count("◆") == 2
    picture = ET.fromstring(said(engine, tmp_path, "--format", "svg")[1])
    assert {"◆ idle 172.18.0.10 → nobody", "◆ shop 172.18.0.9, fd00:1::9 → app1"} <= {
        one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")
    } | {one.text for one in picture.iter("{http://www.w3.org/2000/svg}title")}


def test_the_peers_of_a_network_between_hosts_are_drawn() -> None:
    far = network("far", "10.42.0.0/16", Driver="vxlan", Options={"peers": "192.0.2.2, 192.0.2.3", "vni": "42"})
    assert draw_text(graph([far], [])) == (
        "far  vxlan  10.42.0.0/16  leads outside (NAT)  peers 192.0.2.2, 192.0.2.3  no containers\n"
    )
    assert "vxlan, 192.0.2.2, 192.0.2.3" in draw_svg(graph([far], []))


def test_all_networks_are_drawn_as_text(engine: FakeEngine, tmp_path: Path) -> None:
    assert said(engine, tmp_path) == (0, WIDE, "")
    assert [asked.line() for asked in engine.requests()] == [
        "GET /networks",
        "GET /containers/json",
        "GET /corten/services",
    ]


def test_stopped_containers_are_asked_for_with_all(engine: FakeEngine, tmp_path: Path) -> None:
    assert said(engine, tmp_path, "-a", "--format", "text") == (0, WIDE, "")
    assert engine.requests()[-2].line() == "GET /containers/json?all=1"


def test_named_networks_alone_are_drawn_once_each(engine: FakeEngine, tmp_path: Path) -> None:
    status, out, _ = said(engine, tmp_path, "none", "lan", "lan")
    assert status == 0
    assert out == (
        "lan  macvlan  192.168.4.0/24  leads outside (eth0.50)\n└─ camera  192.168.4.2\n\n"
        "none  null  internal  no containers\n"
    )
    assert said(engine, tmp_path, "lan", "nope") == (1, "", "Error response from daemon: network nope not found\n")


def test_the_picture_is_the_one_of_the_documentation(engine: FakeEngine, tmp_path: Path) -> None:
    assert said(engine, tmp_path, "--format", "svg") == (0, PICTURE.read_text(), "")


def test_the_graph_is_given_as_json_and_to_templates(engine: FakeEngine, tmp_path: Path) -> None:
    found = json.loads(said(engine, tmp_path, "--format", "json")[1])
    assert found == graph(NETWORKS, CONTAINERS)
    assert found["Networks"][1]["Endpoints"][2] == {
        "Container": "db", "Addresses": ["172.19.0.4"], "Aliases": ["database", "store"],
    }  # fmt: skip
    members = {one["Name"]: one for one in found["Containers"]}
    assert (members["app2"]["Health"], members["app2"]["Networks"]) == ("unhealthy", ["back", "front"])
    assert members["proxy"]["Ports"][0] == {"IP": "0.0.0.0", "PublicPort": 8080, "PrivatePort": 80, "Type": "tcp"}
    template = "{{range .Containers}}{{if .SharesWith}}{{.Name}} {{.SharesWith}}{{end}}{{end}}"
    assert said(engine, tmp_path, "--format", template) == (0, "sidecar proxy\n", "")
    status, _, error = said(engine, tmp_path, "--format", "{{.Nope")
    assert (status, error.startswith("template parsing error: ")) == (64, True)


def test_a_narrow_drawing_loses_only_what_fits_no_line() -> None:
    assert draw_text(graph(NETWORKS[:1], CONTAINERS), width=30) == NARROW


@pytest.mark.parametrize(
    ("more", "outside", "connected"),
    [
        ({}, "NAT", True),
        ({"Internal": True}, "", True),
        ({"Options": {f"{BRIDGE}gateway_mode_ipv4": "nat-unprotected"}}, "NAT-unprotected", True),
        ({"Options": {f"{BRIDGE}enable_ip_masquerade": "false", f"{BRIDGE}enable_icc": "0"}}, "no NAT", False),
        ({"EnableIPv4": False, "EnableIPv6": True}, "NAT", True),
        ({"EnableIPv6": True}, "NAT", True),
        ({"Driver": "ipvlan", "Options": {"ipvlan_flag": "private"}}, "", False),
        ({"Driver": "macvlan", "Options": {"parent": "eth0"}, "Internal": True}, "", True),
        ({"Driver": "host"}, "the host's own", True),
        ({"Driver": "null"}, "", False),
        ({"Options": None, "IPAM": None}, "NAT", True),
    ],
)
def test_whether_a_network_leads_outside_and_connects(more: dict[str, Any], outside: str, connected: bool) -> None:
    found = graph([network("n", **more)], [], asked=True)["Networks"][0]
    assert (found["Outside"], found["Connected"]) == (outside, connected)


def test_a_container_that_never_ran_is_placed_by_the_name_it_asked_for() -> None:
    created = container("new", {"default": None}, {"mine": {"NetworkID": ""}}, State="created", status="Created")
    found = graph([network("bridge"), network("mine"), network("other")], [created])
    assert [len(one["Endpoints"]) for one in found["Networks"]] == [1, 1, 0]


def test_a_network_of_the_same_name_is_not_another_ones() -> None:
    found = graph([network("n"), network("n", Id="second")], [container("c", place("n", "10.0.0.2"))])
    assert [len(one["Endpoints"]) for one in found["Networks"]] == [1, 0]


def test_ports_are_joined_where_the_host_has_them_alike() -> None:
    ports = [port(address, 8000 + number, 8000 + number) for number in range(1000) for address in ("::", "0.0.0.0")]
    assert published(ports) == ["*:8000-8999 → 8000-8999/tcp"]
    ports = [port("::1", 1, 2), port("::1", 3, 3), port("::1", 4, 4, "udp"), port("0.0.0.0", 9, 8)]
    assert published(ports) == ["[::1]:1 → 2/tcp", "[::1]:3 → 3/tcp", "[::1]:4 → 4/udp", "0.0.0.0:9 → 8/tcp"]


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_answers_changes_nothing(source: random.Random) -> None:
    networks, containers = copy.deepcopy(NETWORKS), copy.deepcopy(CONTAINERS)
    source.shuffle(networks)
    source.shuffle(containers)
    for one in containers:
        source.shuffle(one["Ports"])
    found = graph(networks, containers)
    assert (draw_text(found), draw_svg(found)) == (WIDE, PICTURE.read_text())


def drawn(name: str, alias: str, box: str) -> Any:
    alias, box = f"a{alias}", f"c{box}"
    one = container(box, {name: {"NetworkID": "x", "IPAddress": alias, "Aliases": [alias]}}, State=alias)
    two = container("two", {name: {"NetworkID": "x", "IPAddress": "10.0.0.2"}})
    return graph([network(name, alias, Id="x", Driver=alias)], [one, two], asked=True)


def shape(svg: str) -> list[tuple[str, list[str]]]:
    """Elements and the names of their attributes, but for the titles of texts that were cut."""
    root = ET.fromstring(svg)
    return [(one.tag, sorted(one.attrib)) for one in root.iter() if not one.tag.endswith("title")]


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_becomes_markup_of_the_picture(name: str, alias: str, box: str) -> None:
    assert shape(draw_svg(drawn(name, alias, box))) == shape(draw_svg(drawn("", "", "")))


@given(TEXTS, TEXTS, TEXTS, st.integers(20, 120))
def test_no_text_breaks_lines_or_the_width(name: str, alias: str, box: str, width: int) -> None:
    found = drawn(name, alias, box)
    lines = draw_text(found, width=width).split("\n")
    assert all(cells(line) <= width and line.isprintable() for line in lines)
    assert len(draw_text(found).split("\n")) == 4
