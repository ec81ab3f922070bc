"""`corten network graph` of a real engine: two networks, one of them internal, three containers, a published port."""

import json
import re
from xml.etree import ElementTree as ET

from tests.lab.daemon import Daemon


def test_a_graph_says_who_is_where_and_which_ports_lead_there(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--subnet", "10.221.0.0/24", "front")
    daemon.docker("network", "create", "--subnet", "10.222.0.0/24", "--internal", "back")
    sleep = ("busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--init", "--name", "web", "--network", "front", "-p", "127.0.0.1::80", *sleep)
    store = ("--network-alias", "store", "-l", "corten.service=data")
    daemon.docker("run", "-d", "--init", "--name", "db", "--network", "back", *store, *sleep)
    daemon.docker("create", "--init", "--name", "app", "--network", "front", "--health-cmd", "true", *sleep)
    daemon.docker("network", "connect", "back", "app")
    assert "app" not in daemon.corten("network", "graph").stdout
    assert re.search("└─ web +created|├─ app +created", daemon.corten("network", "graph", "-a").stdout)
    daemon.docker("start", "app")

    port = daemon.out("port", "web", "80/tcp")
    text = daemon.corten("network", "graph", "back", "front").stdout
    assert re.sub("… starting|✓ healthy", "HEALTH", text) == (
        "back  bridge  10.222.0.0/24  internal\n"
        "├─ ◆ data  10.222.0.254  → db\n"
        "├─ app     10.222.0.3    HEALTH  ⇄ front\n"
        "└─ db      10.222.0.2    as data, store\n"
        "\n"
        "front  bridge  10.221.0.0/24  leads outside (NAT)\n"
        "├─ app  10.221.0.3  HEALTH  ⇄ back\n"
        f"└─ web  10.221.0.2  {port} → 80/tcp\n"
    )
    everything = daemon.corten("network", "graph").stdout
    assert "bridge  bridge" in everything
    assert "host" not in everything
    found = json.loads(daemon.corten("network", "graph", "--format", "json", "back").stdout)
    assert [one["Container"] for one in found["Networks"][0]["Endpoints"]] == ["app", "db"]
    picture = ET.fromstring(daemon.corten("network", "graph", "--format", "svg").stdout)
    texts = {one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"app", "10.221.0.3", "10.222.0.3", "data, store", "internal", f"{port} → 80/tcp"} <= texts
    refused = daemon.corten("network", "graph", "nope", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "network nope not found" in refused.stderr
    daemon.docker("rm", "-f", "web", "db", "app")
    daemon.docker("network", "rm", "front", "back")
