"""Drivers of other distributions: the example of docs/adding-a-network-driver.md, installed; and some that cannot be used."""

import logging
import re
import sys
from pathlib import Path

import pytest
from tests.kernel.network.world import in_own_world

from corten.errors import NotFound
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.spec.docker.network import IPAM, IPAMConfig, NetworkCreateRequest

pytestmark = pytest.mark.root

PAGE = Path(__file__).parents[3] / "docs/adding-a-network-driver.md"
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
DECLARED = re.search(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def install(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(module, code, *entries):
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = "\n".join(line.replace('"', "") for line in entries)
        (info / "entry_points.txt").write_text(f"[{DECLARED[1]}]\n{lines}\n")

    yield install
    for module in ("ptp", "bad"):
        sys.modules.pop(module, None)


def request(driver):
    subnet = IPAM(config=[IPAMConfig(subnet="10.66.0.0/24")])
    return NetworkCreateRequest(name="net", driver=driver, ipam=subnet)


def links():
    with NetlinkSocket() as netlink:
        return sorted(link.name for link in rtnetlink.list_links(netlink) if link.name.startswith("ptp"))


def names_inside():
    with NetlinkSocket() as netlink:
        return [link.name for link in rtnetlink.list_links(netlink) if link.kind == "veth"]


def test_the_example_of_the_manual_makes_networks(install):
    install("ptp", EXAMPLE, DECLARED[2])

    async def scenario(world):
        service = await world.service()
        assert "ptp" in service.driver_names()
        await service.catalog.create(request("ptp"))
        cid, box, attached = await world.container(service, mode="net", prewarm=True)
        assert attached.addresses == ["10.66.0.2"]
        assert (box.do(names_inside), len(links())) == (["eth0"], 1)
        world.kill(service)
        again = await world.service(living={cid: box.pid})
        await again.release(cid)
        await again._endpoints.collect()
        assert (box.do(names_inside), links()) == ([], [])
        await again.catalog.remove("net")

    in_own_world(scenario)


BAD = {
    "clash": ("from corten.network.drivers.null import NullDriver as D", "bridge = bad:D", "is that of another driver"),
    "import": ("import nothing_of_this_name", "bad = bad:D", "No module named 'nothing_of_this_name'"),
    "exits": ("raise SystemExit('not here')", "bad = bad:D", "not here"),
    "absent": ("", "bad = bad:D", "has no attribute 'D'"),
    "name": ("from corten.network.drivers.null import NullDriver as D", "bad = bad:D", "calls itself 'null'"),
    "members": (
        "class D:\n name = 'bad'\n def __init__(self, netlink, *, owner): ...",
        "bad = bad:D",
        "it has no check",
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_one_that_cannot_be_used_is_left_out_with_a_warning(install, bad):
    code, entry, text = bad
    install("bad", code, entry)
    install("ptp", EXAMPLE, DECLARED[2])

    async def scenario(world):
        heard = []
        handler = logging.Handler()
        handler.emit = lambda record: heard.append(record.getMessage())
        logging.getLogger("corten.network").addHandler(handler)
        service = await world.service()
        assert [line for line in heard if "network driver bad:D of bad cannot be used" in line and text in line], heard
        assert {"bridge", "ptp"} <= set(service.driver_names())
        await world.container(service, mode="bridge")
        if not entry.startswith("bridge"):
            with pytest.raises(NotFound):
                await service.catalog.create(request("bad"))

    in_own_world(scenario)
