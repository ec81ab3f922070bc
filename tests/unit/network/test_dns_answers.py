"""Who is named to whom: zones, links, health; what is answered, and what is forwarded."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel.network.asking import parse, query

from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig, SubnetConfig
from corten.network.dns import message
from corten.network.dns.answers import answer, reverse_address
from corten.network.dns.directory import NameDirectory
from corten.network.dns.message import parse_query
from corten.network.dns.redirect import redirect_table
from corten.network.dns.services import known_services, parse_services, port_of
from corten.network.dns.upstream import upstreams
from corten.network.hosts_files import ResolvConf, embedded_resolv_conf, own_lines, without_lines

NET = NetworkConfig(id="n1", name="net", driver="bridge", created="", subnets=[SubnetConfig(subnet="10.1.0.0/16")])
INSIDE = NetworkConfig(id="n2", name="inside", driver="bridge", created="", internal=True)
BRIDGE = NetworkConfig(id="n0", name="bridge", driver="bridge", created="", predefined=True)
NOERROR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 2, 3, 4, 5


def place(network, address, *names, links=()):
    endpoint = Endpoint(
        id="e",
        network=network.id,
        ipv4=f"{address}/16",
        gateway="10.9.9.9",
        dns_names=list(names),
        links=list(links),
    )
    return endpoint, network


def directory(**containers):
    """id=[(endpoint, network), ...]"""
    names = NameDirectory()
    for cid, places in containers.items():
        names.put(ContainerEndpoints(container=cid, name=cid, exposed=["80/tcp"]), places)
    return names


def ask(names, cid, name, kind=1, **options):
    found = answer(parse_query(query(name, kind, **options)), cid, names, limit=512)
    return None if found is None else (parse(found)[0], parse(found)[3])


def test_a_container_in_two_networks_is_named_once_and_each_sees_its_own():
    both = [place(NET, "10.1.0.2", "db"), place(INSIDE, "10.2.0.2", "db")]
    names = directory(db=both, a=[place(NET, "10.1.0.3", "a")], b=[place(INSIDE, "10.2.0.3", "b")], c=both[:0])
    assert ask(names, "a", "db") == (NOERROR, ["10.1.0.2"])
    assert ask(names, "b", "db") == (NOERROR, ["10.2.0.2"])
    assert ask(names, "db", "a") == (NOERROR, ["10.1.0.3"])
    assert ask(names, "a", "b") is None
    assert ask(names, "b", "a") == (SERVFAIL, [])
    assert ask(names, "nobody", "a") == (SERVFAIL, [])


def test_a_network_without_a_gateway_leads_nowhere_and_nothing_of_it_is_forwarded():
    dummy = NetworkConfig(id="n3", name="dummy", driver="macvlan", created="")
    here = Endpoint(id="e", network="n3", ipv4="10.3.0.2/16", dns_names=["x"])
    there = Endpoint(id="f", network="n3", ipv4="10.3.0.3/16", dns_names=["y"])
    names = directory(x=[(here, dummy)], y=[(there, dummy), place(NET, "10.1.0.2", "y")])
    assert ask(names, "x", "x") == (NOERROR, ["10.3.0.2"])
    assert ask(names, "x", "example.test") == (SERVFAIL, [])
    assert ask(names, "x", "1.0.0.10.in-addr.arpa", message.PTR) == (SERVFAIL, [])
    assert ask(names, "y", "example.test") is None
    here.gateway6 = "::"
    names.put(ContainerEndpoints(container="x", name="x"), [(here, dummy)])
    assert ask(names, "x", "example.test") is None


def test_the_default_bridge_has_no_names_and_leads_outside():
    names = directory(
        x=[place(BRIDGE, "172.17.0.2", "x")], y=[place(BRIDGE, "172.17.0.3", "y"), place(INSIDE, "10.2.0.2", "y")]
    )
    assert ask(names, "x", "x") is None
    assert ask(names, "y", "x") is None


def test_a_service_is_named_by_its_own_addresses_and_its_members_as_tasks():
    names = directory(
        a=[place(NET, "10.1.0.2", "a", "web")],
        b=[place(NET, "10.1.0.3", "b", "web"), place(INSIDE, "10.2.0.3", "b", "web")],
        c=[place(INSIDE, "10.2.0.2", "c")],
    )
    names.set_services("n1", {"web": (ipaddress.ip_address("10.1.0.9"),), "idle": ()})
    assert ask(names, "a", "WEB") == (NOERROR, ["10.1.0.9"])
    assert ask(names, "b", "web.net") == (NOERROR, ["10.1.0.9"])
    assert ask(names, "a", "web", message.AAAA) == (NOERROR, [])
    assert ask(names, "a", "web", message.SRV) == (NOERROR, [])
    assert ask(names, "a", "idle") == ask(names, "a", "tasks.idle") == (NOERROR, [])
    assert sorted(ask(names, "a", "tasks.web")[1]) == ["10.1.0.2", "10.1.0.3"]
    assert ask(names, "c", "web") == (NOERROR, ["10.2.0.3"])  # another network, where it is no service
    assert ask(names, "c", "tasks.web") == (SERVFAIL, [])
    assert ask(names, "nobody", "tasks.web") == (SERVFAIL, [])
    names.person("b").leaving = True
    assert ask(names, "a", "tasks.web") == (NOERROR, ["10.1.0.2"])
    names.set_services("n1", {})
    assert ask(names, "a", "web") == (NOERROR, ["10.1.0.2"])
    assert ask(names, "a", "tasks.web") is None


def test_links_are_names_for_their_container_alone():
    names = directory(a=[place(NET, "10.1.0.2", "a", links=["B:Store", "b"])], b=[place(NET, "10.1.0.3", "b")])
    assert ask(names, "a", "store") == (NOERROR, ["10.1.0.3"])
    assert ask(names, "a", "b") == (NOERROR, ["10.1.0.3"])
    assert ask(names, "b", "store") is None


def test_an_unhealthy_container_still_finds_itself_and_nobody_else_does():
    names = directory(a=[place(NET, "10.1.0.2", "a")], b=[place(NET, "10.1.0.3", "b")])
    names.set_health("a", "unhealthy")
    assert ask(names, "a", "a") == (NOERROR, ["10.1.0.2"])
    assert ask(names, "b", "a") == (NOERROR, [])  # known, and not for the servers outside
    names.set_health("a", "healthy")
    assert ask(names, "b", "a") == (NOERROR, ["10.1.0.2"])


def test_a_restarted_container_begins_as_starting_and_a_changed_one_keeps_its_health():
    names = NameDirectory()
    record = ContainerEndpoints(container="a", name="a", checked=True)
    names.put(record, [place(NET, "10.1.0.2", "a", "web")])
    names.put(ContainerEndpoints(container="b", name="b"), [place(NET, "10.1.0.3", "b", "web")])
    assert ask(names, "b", "web") == (NOERROR, ["10.1.0.3"])
    assert ask(names, "b", "a") == (NOERROR, ["10.1.0.2"])
    names.set_health("a", "unhealthy")
    names.put(record, [place(NET, "10.1.0.2", "a")])
    assert ask(names, "b", "a") == (NOERROR, [])
    names.drop("a")
    assert ask(names, "b", "a") is None
    names.put(record, [place(NET, "10.1.0.2", "a")])
    assert ask(names, "b", "a") == (NOERROR, ["10.1.0.2"])


def test_addresses_of_our_networks_are_not_asked_for_outside():
    names = directory(a=[place(NET, "10.1.0.2", "a")])
    assert ask(names, "a", "2.0.1.10.in-addr.arpa", message.PTR) == (NOERROR, ["a.net"])
    assert ask(names, "a", "9.0.1.10.in-addr.arpa", message.PTR) == (NXDOMAIN, [])
    assert ask(names, "a", "9.9.9.9.in-addr.arpa", message.PTR) is None
    assert ask(names, "a", "0.1.10.in-addr.arpa", message.PTR) is None


def test_other_opcodes_classes_and_versions_are_refused():
    names = directory(a=[place(NET, "10.1.0.2", "a")])
    base = parse_query(query("a", 1))
    replies = [
        answer(changed, "a", names, limit=512)
        for changed in (base._replace(flags=0x2800), base._replace(klass=3), base._replace(edns=1))
    ]
    assert [reply[3] & 15 for reply in replies] == [NOTIMP, REFUSED, 0]
    assert replies[2][-6] == 1  # BADVERS is 16: the upper bits are in the OPT record


def test_services_are_those_who_expose_the_port():
    names = directory(a=[place(NET, "10.1.0.2", "a", "web")], **{"x" * 70: [place(NET, "10.1.0.3", "web")]})
    rcode, found = ask(names, "a", "_http._tcp.web", message.SRV)
    assert rcode == NOERROR
    assert set(found) >= {"a:80", f"{'x' * 12}:80", "10.1.0.2", "10.1.0.3"}
    assert ask(names, "a", "_80._udp.web", message.SRV) == (NXDOMAIN, [])
    assert ask(names, "a", "_80._tcp.nobody", message.SRV) is None
    assert ask(names, "a", "_80._tcp", message.SRV) is None


@pytest.mark.parametrize(
    ("service", "port"), [("80", 80), ("0", 0), ("65536", 0), ("9" * 40, 0), ("nosuch", 0), ("", 0)]
)
def test_ports_are_numbers_or_names(service, port):
    assert port_of(service, "tcp") == port


def test_names_of_services_are_read_as_the_system_does_and_once():
    text = "# comment\nhttp 80/tcp www # world\nhttp 81/tcp\nntp\t123/udp\nbad x/tcp\nworse 70000/tcp\nalone\n"
    assert parse_services(text) == {("http", "tcp"): 80, ("www", "tcp"): 80, ("ntp", "udp"): 123}
    known = known_services()
    assert known[("http", "tcp")] == socket.getservbyname("http", "tcp")
    assert known_services() is known


@given(st.ip_addresses())
def test_reverse_names_are_read_back(address):
    assert reverse_address(address.reverse_pointer) == address


@given(st.text(max_size=90))
def test_any_text_is_a_reverse_name_or_not(text):
    for suffix in (".in-addr.arpa", ".ip6.arpa"):
        found = reverse_address(text + suffix)
        assert found is None or isinstance(found, ipaddress.IPv4Address | ipaddress.IPv6Address)


def test_servers_that_only_the_host_reaches_are_asked_from_there():
    host = ("127.0.0.53", "192.0.2.1", "2001:db8::1", "fe80::1%eth0", "rubbish")
    assert list(map(str, upstreams((), host, ipv6=False))) == [
        "host(127.0.0.53)",
        "192.0.2.1",
        "host(2001:db8::1)",
        "host(fe80::1%eth0)",
    ]
    assert str(upstreams((), host, ipv6=True)[2]) == "2001:db8::1"
    assert list(map(str, upstreams(("127.0.0.1", "127.0.0.11"), host, ipv6=False))) == ["127.0.0.1"]


def test_the_redirection_is_one_map_of_two_ports():
    assert redirect_table(udp_port=40000, tcp_port=40001).text().splitlines()[3:5] == [
        "\t\t127.0.0.11 . udp . 53 : 127.0.0.11 . 40000",
        "\t\t127.0.0.11 . tcp . 53 : 127.0.0.11 . 40001",
    ]


def test_the_resolv_conf_of_the_embedded_server():
    host = ResolvConf(servers=("192.0.2.1",), search=("lan",), options=("edns0",))
    text = embedded_resolv_conf(host, upstreams=upstreams((), host.servers, ipv6=False))
    assert text == "nameserver 127.0.0.11\nsearch lan\noptions edns0 ndots:0\n\n# ExtServers: [192.0.2.1]\n"
    own = embedded_resolv_conf(host, search=("x", "."), options=("ndots:3",))
    assert own == "nameserver 127.0.0.11\nsearch x\noptions ndots:3\n\n# ExtServers: []\n"


def test_own_lines_of_hosts_come_and_go_and_others_stay():
    text = "127.0.0.1\tlocalhost\n10.0.0.9\tmine"
    lines = own_lines(["10.1.0.2", "fd00::2"], "web")
    assert lines == "10.1.0.2\tweb\nfd00::2\tweb\n"
    assert without_lines(f"{text}\n{lines}".encode(), lines) == f"{text}\n".encode()
    assert without_lines(b"10.1.0.2\tother\n\xff", lines) == b"10.1.0.2\tother\n\xff"
