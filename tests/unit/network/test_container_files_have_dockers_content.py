"""/etc/hosts, hostname and resolv.conf as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.network.hosts_files import (
    check_dns,
    container_resolv_conf,
    extra_hosts,
    hostname_file,
    hosts_file,
    link_hosts,
    parse_extra_host,
    parse_resolv_conf,
)


def test_a_hosts_file_has_loopback_extra_hosts_and_the_container():
    text = hosts_file(hostname="web", addresses=["172.17.0.2"], extra=[("10.0.0.1", "db")], ipv6=True)
    assert text == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::\tip6-localnet\n"
        "ff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n"
        "10.0.0.1\tdb\n"
        "172.17.0.2\tweb\n"
    )


def test_a_domain_name_comes_before_the_short_name():
    assert hosts_file(hostname="web", domain="example.org", addresses=["10.0.0.2"], ipv6=False) == (
        "127.0.0.1\tlocalhost\n10.0.0.2\tweb.example.org web\n"
    )


@pytest.mark.parametrize("name", ["a\n127.0.0.1 bank", "a b", "", "a#b", "x" * 254, "a\x00"])
def test_a_name_that_would_write_lines_is_refused(name):
    with pytest.raises(InvalidArgument):
        hosts_file(hostname=name, addresses=["10.0.0.1"], ipv6=False)
    with pytest.raises(InvalidArgument):
        hosts_file(hostname="ok", extra=[("10.0.0.1", name.replace(" ", "\t") or "\n")], ipv6=False)
    with pytest.raises(InvalidArgument):
        hostname_file(name)


def test_extra_hosts_know_both_separators_and_the_gateway():
    specs = ["db:10.0.0.1", "six=[fd00::1]", "six2:fd00::2", "host.docker.internal:host-gateway"]
    assert extra_hosts(specs, ["172.17.0.1"]) == [
        ("10.0.0.1", "db"),
        ("fd00::1", "six"),
        ("fd00::2", "six2"),
        ("172.17.0.1", "host.docker.internal"),
    ]


def test_extra_hosts_are_refused_with_dockers_texts():
    with pytest.raises(InvalidArgument, match='bad format for add-host: "db"'):
        parse_extra_host("db")
    with pytest.raises(InvalidArgument, match='invalid IP address in add-host: "nope"'):
        parse_extra_host("db:nope")
    with pytest.raises(InvalidArgument, match="unable to derive the IP value for host-gateway"):
        extra_hosts(["a:host-gateway"], [])


@given(st.text(max_size=60))
def test_an_extra_host_is_refused_or_makes_exactly_one_line(text):
    try:
        lines = extra_hosts([text], ["172.17.0.1"])
        content = hosts_file(hostname="c", extra=lines, ipv6=False)
    except InvalidArgument:
        return
    assert len(content.split("\n")) == 3


def test_loopback_servers_of_the_host_are_left_out():
    host = parse_resolv_conf(
        "nameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver ::1\nsearch corp.example\noptions edns0\n"
    )
    assert container_resolv_conf(host).text() == "nameserver 10.1.1.1\nsearch corp.example\noptions edns0\n"


def test_without_a_reachable_server_public_ones_are_used():
    host = parse_resolv_conf("# comment\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n")
    assert container_resolv_conf(host).servers == ("8.8.8.8", "8.8.4.4")
    assert len(container_resolv_conf(host, ipv6=True).servers) == 4


def test_given_settings_replace_the_hosts():
    host = parse_resolv_conf("nameserver 10.1.1.1\nsearch corp.example\noptions edns0\n")
    conf = container_resolv_conf(host, dns=["1.1.1.1"], search=["."], options=["ndots:5"])
    assert conf.text() == "nameserver 1.1.1.1\noptions ndots:5\n"


@pytest.mark.parametrize(
    ("dns", "search", "options"),
    [(["nope"], [], []), ([], ["a\nnameserver 6.6.6.6"], []), ([], [], ["x\ny"]), (["1.1.1.1\n"], [], [])],
)
def test_dns_settings_that_would_write_lines_are_refused(dns, search, options):
    with pytest.raises(InvalidArgument):
        check_dns(dns, search, options)


@given(st.text(max_size=200))
def test_any_resolv_conf_is_read_without_an_error(text):
    conf = container_resolv_conf(parse_resolv_conf(text))
    assert conf.servers


def test_links_are_alias_then_id_and_name():
    assert link_hosts({"db": ("10.0.0.3", ["0123456789ab", "mydb"])}) == [("10.0.0.3", "db 0123456789ab mydb")]
