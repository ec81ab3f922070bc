"""Real packets through a bridge network: what gets through, from where, with which source, and what does not."""

import socket

import pytest
from tests.kernel.network.packets import bridge_filter_is, sysctl
from tests.kernel.network.world import ask_tcp, ask_udp, in_own_world, mac_of_link, refused_tcp, send_spoofed_udp

from corten.errors import ResourceExhausted
from corten.linux.rtnetlink import configure_interfaces
from corten.spec.docker.network import (
    IPAM,
    EndpointIPAMConfig,
    EndpointSettings,
    IPAMConfig,
    NetworkCreateRequest,
    PortBinding,
)

pytestmark = pytest.mark.root

WEB = {"80/tcp": [PortBinding(host_port="8080")]}
BRIDGE_CALLS_FILTER = pytest.mark.parametrize("bridge_filter", ["0", "1"])


def test_a_container_leaves_with_the_hosts_address():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.serve_tcp(7000)
        _cid, box, attached = await world.container(service)
        assert attached.interfaces[0]["addresses"] == ["172.17.0.2/16"]
        assert box.do(ask_tcp, "203.0.113.2", 7000) == "203.0.113.1"

    in_own_world(scenario)


@BRIDGE_CALLS_FILTER
@pytest.mark.parametrize("prewarm", [False, True])
def test_a_published_port_answers_from_everywhere(prewarm, bridge_filter):
    async def scenario(world):
        bridge_filter_is(bridge_filter)
        service = await world.service()
        lan = world.neighbour()
        _cid, web, attached = await world.container(service, prewarm=prewarm, port_bindings=WEB)
        _cid, other, _attached = await world.container(service)
        web.serve_tcp(80)
        assert [b.host_ip for b in attached.ports["80/tcp"]] == ["0.0.0.0", "::"]
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"
        assert ask_tcp("127.0.0.1", 8080) == "172.17.0.1"
        assert ask_tcp("203.0.113.1", 8080) == "203.0.113.1"
        assert ask_tcp("172.17.0.2", 80) == "172.17.0.1"
        assert other.do(ask_tcp, "203.0.113.1", 8080) == "172.17.0.1"
        assert web.do(ask_tcp, "203.0.113.1", 8080) == "172.17.0.1"
        me = world.box_of_host()
        assert await me.ado(ask_tcp, "::1", 8080) == "172.17.0.1"
        assert await lan.ado(ask_tcp, "2001:db8::1", 8080) == "172.17.0.1"

    in_own_world(scenario)


def test_a_published_udp_port_answers_from_outside_and_from_loopback():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        _cid, box, _attached = await world.container(service, port_bindings={"53/udp": [PortBinding(host_port="5353")]})
        box.serve_udp(53)
        assert lan.do(ask_udp, "203.0.113.1", 5353) == "203.0.113.2"
        assert ask_udp("127.0.0.1", 5353) == "172.17.0.1"
        me = world.box_of_host()
        assert await me.ado(ask_udp, "::1", 5353) == "172.17.0.1"

    in_own_world(scenario)


def test_a_port_on_a_host_address_answers_on_that_address_alone():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        only_local = [PortBinding(host_ip="127.0.0.1", host_port="8080")]
        only_lan = [PortBinding(host_ip="203.0.113.1", host_port="8081")]
        _cid, web, _attached = await world.container(service, port_bindings={"80/tcp": [*only_local, *only_lan]})
        web.serve_tcp(80)
        assert ask_tcp("127.0.0.1", 8080) == "172.17.0.1"
        assert lan.do(ask_tcp, "203.0.113.1", 8081) == "203.0.113.2"
        assert refused_tcp("127.0.0.1", 8081)
        assert lan.do(refused_tcp, "203.0.113.1", 8080)

    in_own_world(scenario)


def test_a_neighbour_cannot_route_to_container_addresses_or_loopback_ports():
    async def scenario(world):
        sysctl("net/ipv4/ip_forward", "1")
        service = await world.service()
        lan = world.neighbour()
        local = {"80/tcp": [PortBinding(host_ip="127.0.0.1", host_port="8080")], "81/tcp": []}
        _cid, web, _attached = await world.container(service, port_bindings=local)
        web.serve_tcp(80)
        assert ask_tcp("127.0.0.1", 8080) == "172.17.0.1"
        assert lan.do(refused_tcp, "172.17.0.2", 80)
        mac = mac_of_link("lan0")
        counter = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        counter.bind(("127.0.0.1", 9000))
        counter.settimeout(0.4)
        sysctl("net/ipv4/conf/lan0/route_localnet", "1")
        lan.do(send_spoofed_udp, "eth0", mac, "203.0.113.2", "127.0.0.1", 9000)
        with pytest.raises(TimeoutError):
            counter.recv(100)
        service._firewall.uninstall()  # without the rules the same frame arrives: the test can fail
        lan.do(send_spoofed_udp, "eth0", mac, "203.0.113.2", "127.0.0.1", 9000)
        assert counter.recv(100) == b"spoofed"

    in_own_world(scenario)


def test_a_container_cannot_reach_the_hosts_loopback_services():
    async def scenario(world):
        service = await world.service()
        _cid, box, _attached = await world.container(service, port_bindings=WEB)
        assert sysctl("net/ipv4/conf/ct00test/route_localnet") == "1"
        secret = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        secret.bind(("127.0.0.1", 9000))
        secret.settimeout(0.4)
        mac = mac_of_link("ct00test")
        box.do(send_spoofed_udp, "eth0", mac, "172.17.0.2", "127.0.0.1", 9000)
        box.do(send_spoofed_udp, "eth0", mac, "127.0.0.1", "127.0.0.1", 9000)
        with pytest.raises(TimeoutError):
            secret.recv(100)
        service._firewall.uninstall()
        box.do(send_spoofed_udp, "eth0", mac, "172.17.0.2", "127.0.0.1", 9000)
        assert secret.recv(100) == b"spoofed"

    in_own_world(scenario)


@BRIDGE_CALLS_FILTER
def test_networks_are_isolated_but_for_published_ports(bridge_filter):
    async def scenario(world):
        bridge_filter_is(bridge_filter)
        service = await world.service()
        world.neighbour()
        await service.catalog.create(NetworkCreateRequest(name="other"))
        _cid, web, _attached = await world.container(service, port_bindings=WEB, exposed=("81/tcp",))
        _cid, peer, _attached = await world.container(service)
        _cid, stranger, found = await world.container(service, mode="other")
        assert found.settings["other"].ip_address == "172.18.0.2"
        web.serve_tcp(80)
        web.serve_tcp(81)
        assert peer.do(ask_tcp, "172.17.0.2", 81) == "172.17.0.3"
        assert stranger.do(refused_tcp, "172.17.0.2", 80)
        assert stranger.do(refused_tcp, "172.17.0.2", 81)
        assert stranger.do(ask_tcp, "203.0.113.1", 8080) == "172.17.0.1"

    in_own_world(scenario)


@BRIDGE_CALLS_FILTER
def test_without_icc_only_published_ports_answer(bridge_filter):
    async def scenario(world):
        bridge_filter_is(bridge_filter)
        service = await world.service(icc=False)
        lan = world.neighbour()
        _cid, web, _attached = await world.container(service, prewarm=True, port_bindings=WEB)
        _cid, peer, _attached = await world.container(service)
        web.serve_tcp(80)
        assert peer.do(refused_tcp, "172.17.0.2", 80)
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"

    in_own_world(scenario)


def test_an_internal_network_has_no_way_out():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.serve_tcp(7000)
        await service.catalog.create(NetworkCreateRequest(name="inner", internal=True))
        _cid, one, attached = await world.container(service, mode="inner")
        _cid, two, _attached = await world.container(service, mode="inner")
        assert attached.interfaces[0]["gateway"] is None
        two.serve_tcp(80)
        assert one.do(ask_tcp, "172.18.0.3", 80) == "172.18.0.2"
        route = {"name": "eth0", "routes": [{"destination": "203.0.113.0/24", "gateway": "172.18.0.1"}]}
        one.do(configure_interfaces, [route])
        assert one.do(refused_tcp, "203.0.113.2", 7000)

    in_own_world(scenario)


def test_ipv6_networks_translate_and_publish():
    async def scenario(world):
        service = await world.service(ipv6=True)
        lan = world.neighbour()
        lan.serve_tcp(7000, socket.AF_INET6)
        _cid, web, attached = await world.container(service, port_bindings=WEB)
        address = attached.settings["bridge"].global_ipv6_address
        assert address.startswith("fd")
        web.serve_tcp(80, socket.AF_INET6)
        assert web.do(ask_tcp, "2001:db8::2", 7000) == "2001:db8::1"
        assert lan.do(ask_tcp, "2001:db8::1", 8080) == "2001:db8::2"
        me = world.box_of_host()
        assert await me.ado(ask_tcp, "::1", 8080) == service.host_gateways()[1]

    in_own_world(scenario)


def test_a_port_that_is_taken_is_refused_with_dockers_text():
    async def scenario(world):
        service = await world.service()
        await world.container(service, port_bindings=WEB)
        with pytest.raises(ResourceExhausted) as caught:
            await world.container(service, name="second", port_bindings=WEB)
        assert caught.value.message.startswith("driver failed programming external connectivity on endpoint second (")
        assert caught.value.message.endswith("): Bind for 0.0.0.0:8080 failed: port is already allocated")
        taken = socket.create_server(("127.0.0.1", 9090))
        with pytest.raises(ResourceExhausted, match=r"failed to bind host port for .*: address already in use"):
            await world.container(service, port_bindings={"80/tcp": [PortBinding(host_port="9090")]})
        taken.close()
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", 8080), reuse_port=False)
        _cid, _box, attached = await world.container(service, port_bindings={"80/tcp": [PortBinding(host_port="9090")]})
        assert attached.ports["80/tcp"][0].host_port == "9090"

    in_own_world(scenario)


def test_released_ports_and_addresses_come_back():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        cid, web, _attached = await world.container(service, port_bindings=WEB)
        web.serve_tcp(80)
        await service.release(cid)
        await service.release(cid)
        assert lan.do(refused_tcp, "203.0.113.1", 8080)
        web.end()
        await service._endpoints.collect()
        _cid, web, attached = await world.container(service, port_bindings=WEB)
        assert attached.settings["bridge"].ip_address == "172.17.0.2"
        web.serve_tcp(80)
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"

    in_own_world(scenario)


def test_a_static_address_and_mac_are_honoured_on_a_user_network():
    async def scenario(world):
        service = await world.service()
        ipam = IPAM(config=[IPAMConfig(subnet="10.99.0.0/24")])
        await service.catalog.create(NetworkCreateRequest(name="net", ipam=ipam))
        asked = EndpointSettings(
            ipam_config=EndpointIPAMConfig(ipv4_address="10.99.0.77"), mac_address="02:00:00:00:00:07"
        )
        _cid, box, attached = await world.container(service, prewarm=True, mode="net", endpoints={"net": asked})
        assert attached.settings["net"].ip_address == "10.99.0.77"
        assert box.do(mac_of_link, "eth0") == "02:00:00:00:00:07"
        box.serve_tcp(80)
        assert ask_tcp("10.99.0.77", 80) == "10.99.0.1"

    in_own_world(scenario)


@pytest.mark.parametrize("prewarm", [False, True])
def test_names_of_interfaces_are_kept_whatever_the_prepared_one_is_called(prewarm):
    async def scenario(world):
        service = await world.service()
        prefix = {"com.docker.network.container_iface_prefix": "lan"}
        await service.catalog.create(NetworkCreateRequest(name="a", options=prefix))
        await service.catalog.create(NetworkCreateRequest(name="b"))
        named = EndpointSettings(driver_opts={"com.docker.network.endpoint.ifname": "up1"})
        for mode, first, name in (("a", EndpointSettings(), "lan0"), ("bridge", named, "up1")):
            _cid, box, attached = await world.container(
                service, prewarm=prewarm, mode=mode, endpoints={mode: first, "b": EndpointSettings()}
            )
            assert [interface["name"] for interface in attached.interfaces] == [name, "eth0"]
            assert box.do(names_of_links) == sorted(["eth0", "lo", name])

    in_own_world(scenario)


def names_of_links():
    return sorted(name for _index, name in socket.if_nameindex())
