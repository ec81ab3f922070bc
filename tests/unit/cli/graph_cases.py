"""Answers of `GET /networks` and `GET /containers/json` to be drawn.

`PYTHONPATH=src python -m tests.unit.cli.graph_cases` draws docs/network-graph.svg anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

PICTURE = Path(__file__).resolve().parents[3] / "docs/network-graph.svg"
BRIDGE = "com.docker.network.bridge."


def network(name: str, *subnets: str, **more: Any) -> dict[str, Any]:
    return {
        "Id": f"id-of-{name}",
        "Name": name,
        "Driver": "bridge",
        "Internal": False,
        "EnableIPv6": len(subnets) > 1,
        "Options": {},
        "IPAM": {"Config": [{"Subnet": subnet} for subnet in subnets]},
        **more,
    }


def place(name: str, address: str = "", address6: str = "", aliases: list[str] | None = None) -> dict[str, Any]:
    settings = {"NetworkID": f"id-of-{name}", "IPAddress": address, "GlobalIPv6Address": address6, "Aliases": aliases}
    return {name: settings}


def container(name: str, *places: dict[str, Any], status: str = "Up 2 minutes", **more: Any) -> dict[str, Any]:
    return {
        "Id": f"{name:0<64}",
        "Names": [f"/other/{name}", f"/{name}"],
        "Image": "busybox",
        "State": "running",
        "Status": status,
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {name: one for settings in places for name, one in settings.items()}},
        "Ports": [],
        **more,
    }


def port(address: str, public: int, private: int, kind: str = "tcp") -> dict[str, Any]:
    return {"IP": address, "PublicPort": public, "PrivatePort": private, "Type": kind}


NETWORKS = [
    network("front", "172.18.0.0/16", "fd00:1::/64", Options={f"{BRIDGE}gateway_mode_ipv6": "routed"}),
    network("back", "172.19.0.0/16", Internal=True),
    network("apart", "172.20.0.0/16", Options={f"{BRIDGE}enable_icc": "false"}),
    network("lan", "192.168.4.0/24", Driver="macvlan", Options={"parent": "eth0.50"}),
    network("host", Driver="host"),
    network("none", Driver="null"),
    network("settings", "10.1.0.0/24", ConfigOnly=True),
]
PORTS = [port("0.0.0.0", 8080, 80), port("::", 8080, 80), {"PrivatePort": 443, "Type": "tcp"}]
CONTAINERS = [
    container(
        "proxy",
        place("front", "172.18.0.2", "fd00:1::2", ["www", f"{'proxy':0<12}"]),
        Ports=[*PORTS, *(port("127.0.0.1", 9000 + number, 7000 + number, "udp") for number in range(3))],
    ),
    container(
        "app1",
        place("front", "172.18.0.3", "fd00:1::3", ["app"]),
        place("back", "172.19.0.2", "", ["app"]),
        status="Up 2 minutes (healthy)",
    ),
    container(
        "app2",
        place("front", "172.18.0.4", "fd00:1::4", ["app"]),
        place("back", "172.19.0.3", "", ["app"]),
        status="Up 2 minutes (unhealthy)",
    ),
    container("db", place("back", "172.19.0.4", "", ["store", "database"]), status="Up 1 second (health: starting)"),
    container("job", place("apart", "172.20.0.2")),
    container("old", place("apart"), status="Exited (0) 3 hours ago", State="exited"),
    container("camera", place("lan", "192.168.4.2")),
    container("sidecar", HostConfig={"NetworkMode": f"container:{'proxy':0<64}"}),
]

if __name__ == "__main__":
    from corten.cli.network_graph.model import make_graph
    from corten.cli.network_graph.svg import draw_svg

    PICTURE.write_text(draw_svg(make_graph(NETWORKS, CONTAINERS, [], asked=False)))
    sys.stdout.write(f"{PICTURE}\n")
