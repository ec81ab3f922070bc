"""From a create request to a record, and what an endpoint may ask for: decisions alone, no kernel."""

import pytest

from corten.engine.networks.endpoint_settings import (
    OPTION_IFNAME,
    OPTION_SYSCTLS,
    check_endpoint,
    endpoint_sysctls,
    interface_name,
)
from corten.engine.networks.listing import matches, prunable
from corten.engine.networks.planning import plan
from corten.engine.networks.registry import Registry
from corten.engine.networks.settings import NetworkSettings
from corten.errors import Conflict, Forbidden, InvalidArgument, ResourceExhausted
from corten.network.config import Endpoint, NetworkConfig, host_link, mtu_of
from corten.network.ipam import Taken, parse_subnet
from corten.spec.docker.network import IPAM, ConfigReference, EndpointSettings, IPAMConfig, NetworkCreateRequest

DRIVERS = ("bridge", "host", "ipvlan", "macvlan", "null")


class Rows:
    def put(self, key, value, name=""):
        pass

    def delete(self, key):
        pass

    def list(self):
        return []


@pytest.fixture
def registry():
    return Registry(NetworkSettings(), Rows())


def make(registry, host=(), **request):
    network = plan(
        NetworkCreateRequest(**{"name": "net", **request}),
        registry,
        drivers=DRIVERS,
        ipam_known=("default", "null").__contains__,
        taken=Taken(parse_subnet(text) for text in host),
    )
    registry.add(network)
    return network


def ipam(*subnets, **fields):
    return IPAM(config=[IPAMConfig(subnet=subnet, **fields) for subnet in subnets])


def test_a_subnet_is_chosen_beside_the_hosts_and_other_networks(registry):
    make(registry, name="one", ipam=ipam("172.18.0.0/16"))
    assert make(registry, host=["172.17.3.0/24"]).subnets[0].subnet == "172.19.0.0/16"


def test_ipv6_alone(registry):
    network = make(registry, enable_ipv4=False, enable_ipv6=True)
    assert [subnet.network().version for subnet in network.subnets] == [6]
    with pytest.raises(InvalidArgument, match="IPv4 or IPv6 must be enabled"):
        make(registry, name="none at all", enable_ipv4=False)


def test_a_second_subnet_is_used_when_the_first_is_full(registry):
    network = make(registry, driver="macvlan", ipam=ipam("10.9.0.0/30", "10.9.1.0/30"))
    given = [registry.allocate(network, 4, "") for _ in range(2)]
    assert given == ["10.9.0.2/30", "10.9.1.2/30"]
    assert str(network.gateway_of(parse_subnet("10.9.1.2/32").network_address)) == "10.9.1.1"
    with pytest.raises(ResourceExhausted):
        registry.allocate(network, 4, "")


def test_an_address_that_two_want_is_dockers_conflict(registry):
    asked = IPAM(config=[IPAMConfig(subnet="10.9.0.0/24", gateway="10.9.0.1", auxiliary_addresses={"a": "10.9.0.1"})])
    text = r"failed to allocate secondary ip address \(a:10.9.0.1\): Address already in use"
    with pytest.raises(Conflict, match=text):
        make(registry, ipam=asked)


def test_a_configuration_takes_no_addresses_and_keeps_the_families(registry):
    make(registry, name="config", config_only=True, enable_ipv6=True, ipam=ipam("10.9.0.0/24", "fd00:9::/64"))
    user = make(registry, config_from=ConfigReference(network="config"))
    assert [subnet.subnet for subnet in user.subnets] == ["10.9.0.0/24", "fd00:9::/64"]
    assert user.enable_ipv6
    with pytest.raises(Forbidden, match="Pool overlaps"):
        make(registry, name="late", config_from=ConfigReference(network="config"))
    config = registry.find("config")
    assert registry.users_of(config) == [user]
    assert not prunable(config, {})
    with pytest.raises(Forbidden, match="configuration-only network"):
        check_endpoint(config, EndpointSettings())


def test_names_are_filtered_by_expression(registry):
    network = make(registry, name="web.1")
    for pattern, found in (("^web", True), ("b.1$", True), ("^1", False), ("[", False), ("a" * 300, False)):
        assert matches(network, {"name": [pattern]}, in_use=False) is found


def network_with(driver="bridge", **options):
    return NetworkConfig(id="ab" * 32, name="n", driver=driver, created="", options=options)


def test_the_link_a_network_stands_on():
    assert host_link(network_with()) == "br-abababababab"
    assert host_link(network_with("macvlan")) == "dm-abababababab"
    assert host_link(network_with("ipvlan", parent="eth0.5")) == "eth0.5"
    assert host_link(network_with("null")) == ""
    for hostile in ("../x", "a/b", "", "x" * 16):
        if hostile:
            with pytest.raises(InvalidArgument):
                host_link(network_with("macvlan", parent=hostile))


@pytest.mark.parametrize("text", ["67", "65536", "-4", "1e3", "٣٠٠٠", "1500\n", "9" * 40])
def test_an_mtu_that_no_link_can_have_is_refused(text):
    with pytest.raises(InvalidArgument, match=r"MTU|mtu"):
        mtu_of(network_with(**{"com.docker.network.driver.mtu": text}))


def asking(**options):
    return EndpointSettings(
        driver_opts={{"ifname": OPTION_IFNAME, "sysctls": OPTION_SYSCTLS}[k]: v for k, v in options.items()}
    )


def test_interface_names_are_those_asked_for_or_the_lowest_free():
    taken = [Endpoint(id="", network="", ifname=name) for name in ("eth0", "lan0", "eth2")]
    assert interface_name(network_with(), EndpointSettings(), taken) == "eth1"
    assert interface_name(network_with(), asking(ifname="wan0"), taken) == "wan0"
    for wrong in ("lan0", "lo", "a/b", "x" * 16):
        with pytest.raises(InvalidArgument):
            interface_name(network_with(), asking(ifname=wrong), taken)


def test_endpoint_sysctls_are_of_one_interface_and_no_paths():
    found = endpoint_sysctls(asking(sysctls="net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=2"))
    assert found == {"net.ipv4.conf.IFNAME.log_martians": "1", "net.ipv6.conf.IFNAME.accept_ra": "2"}
    for wrong in (
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.IFNAME.log_martians",
        "net.ipv4.conf.IFNAME.x/y=1",
        "net.ipv4.conf.IFNAME...x=1",
        "net.ipv4.conf.all.log_martians=1",
        "kernel.IFNAME.x=1",
    ):
        with pytest.raises(InvalidArgument, match="invalid endpoint sysctl"):
            endpoint_sysctls(asking(sysctls=wrong))
