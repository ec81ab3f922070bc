"""Rules that another program flushes or changes come back; what is not ours is left alone."""

import asyncio
import os

import pytest
from tests.kernel.network.packets import table_contents
from tests.kernel.network.world import ask_tcp, in_own_world

from corten.linux.netlink import attr_text, message
from corten.network import nft, nft_requests
from corten.network.nft_socket import NftSocket
from corten.spec.docker.network import NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

TABLE = "corten-00test"
WEB = {"80/tcp": [PortBinding(host_port="8080")]}
FLUSH_RULESET = message(10 << 8 | 2, 0, bytes(4))  # NFT_MSG_DELTABLE of no family and no name
FOREIGN = nft.Table("foreign", (), (nft.Chain("input", (), "filter", "input", 0),))


def flush_table():
    return [nft_requests.delete_table(TABLE)]


def flush_ruleset():
    return [FLUSH_RULESET]


def empty_a_set():
    element = nft.Element(*nft.port_key("tcp", 8080))
    return nft_requests.delete_elements(TABLE, "any4", [element])


def add_a_rule():
    return nft_requests.add_rule(TABLE, "forward", (nft.verdict("drop"),))


def flush_the_rules():
    return [message(10 << 8 | 8, 0, bytes([1, 0, 0, 0]) + attr_text(1, TABLE))]  # NFT_MSG_DELRULE: of the whole table


@pytest.mark.parametrize("attack", [flush_table, flush_ruleset, empty_a_set, add_a_rule, flush_the_rules])
def test_what_another_program_does_to_our_table_is_undone(attack):
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        _cid, web, _attached = await world.container(service, port_bindings=WEB)
        web.serve_tcp(80)
        wanted = table_contents(TABLE)
        stranger = NftSocket()
        stranger.commit(nft_requests.replace_table(FOREIGN), "a table of someone else")

        stranger.commit(attack(), "attack")

        assert table_contents(TABLE) != wanted
        while table_contents(TABLE) != wanted:
            await asyncio.sleep(0.01)
        assert await lan.ado(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"
        assert ("foreign" in stranger.tables()) is (attack is not flush_ruleset)
        stranger.close()

    in_own_world(scenario)


def test_our_own_changes_and_those_of_other_tables_start_no_repair():
    async def scenario(world):
        service = await world.service()
        stranger = NftSocket()
        cid, _web, _attached = await world.container(service, port_bindings=WEB)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        stranger.commit(nft_requests.replace_table(FOREIGN), "a table of someone else")
        await service.release(cid)
        service._firewall_watch._read()
        assert service._firewall_watch._repair is None
        stranger.commit(flush_table(), "flush")
        service._firewall_watch._read()
        assert service._firewall_watch._repair is not None  # the same look does see what is to be seen
        stranger.close()

    in_own_world(scenario)


def test_rules_of_a_removed_network_go_as_soon_as_they_can_be_replaced():
    async def scenario(world):
        service = await world.service()
        before = table_contents(TABLE)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        assert table_contents(TABLE) != before
        service._firewall._table = "no such table " * 99  # too long a name: refused by the kernel
        await service.catalog.remove("net")
        service._firewall._table = TABLE
        assert table_contents(TABLE) != before
        while table_contents(TABLE) != before:
            await asyncio.sleep(0.01)

    in_own_world(scenario)


def test_a_socket_that_fails_for_good_is_replaced_and_what_it_did_not_tell_is_repaired():
    async def scenario(world):
        service = await world.service()
        wanted = table_contents(TABLE)
        stranger = NftSocket()
        reader, writer = os.pipe()
        os.dup2(reader, service._firewall_watch._netlink.fileno())  # ENOTSOCK, however often it is read
        stranger.commit(flush_table(), "flush that nobody tells")
        service._firewall_watch._read()
        assert service._firewall_watch._netlink is None  # it wakes the loop no more
        while table_contents(TABLE) != wanted:
            await asyncio.sleep(0.01)
        stranger.commit(flush_table(), "flush that the next socket tells")
        while table_contents(TABLE) != wanted:
            await asyncio.sleep(0.01)
        stranger.close()
        os.close(reader)
        os.close(writer)

    in_own_world(scenario)


def test_removed_rules_stay_away_after_an_uninstall():
    async def scenario(world):
        service = await world.service()
        stranger = NftSocket()
        stranger.commit(flush_table(), "flush")
        service._firewall_watch._read()
        await service.uninstall()
        while service._firewall_watch._repair is not None:
            await asyncio.sleep(0.01)
        assert TABLE not in stranger.tables()
        stranger.close()

    in_own_world(scenario)


def test_nothing_of_a_removed_network_or_container_is_left_in_the_table():
    async def scenario(world):
        service = await world.service()
        before = table_contents(TABLE)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        listed = {"80/tcp": [PortBinding(host_port="8080", sources=["203.0.113.0/24"]), PortBinding(host_port="0")]}
        cid, _web, _attached = await world.container(service, mode="net", port_bindings=listed)
        assert table_contents(TABLE) != before
        await service.release(cid)
        await service.catalog.remove("net")
        assert table_contents(TABLE) == before

    in_own_world(scenario)
