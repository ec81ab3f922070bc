"""The ports of a container in a list: `0.0.0.0:80->80/tcp, 443/tcp`, neighbours joined to ranges."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def displayable_ports(ports: list[dict[str, Any]]) -> str:
    """As Docker's client joins and orders them: ranges first, then those with another port on the host."""
    key = lambda port: (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"])  # noqa: E731
    groups: dict[tuple[str, str], list[int]] = {}
    done: list[str] = []
    moved: list[str] = []
    for port in sorted(ports, key=key):
        private, address = port["PrivatePort"], port.get("IP", "")
        if address and port.get("PublicPort", 0) != private:
            moved.append(f"{_host(address)}:{port.get('PublicPort', 0)}->{private}/{port['Type']}")
            continue
        group = groups.get((address, port["Type"]))
        if group is None:
            groups[address, port["Type"]] = [private, private]
        elif private == group[1] + 1:
            group[1] = private
        else:
            done.append(_range(address, port["Type"], group))
            groups[address, port["Type"]] = [private, private]
    done += [_range(address, protocol, group) for (address, protocol), group in groups.items()]
    return ", ".join(done + moved)


def _range(address: str, protocol: str, group: list[int]) -> str:
    text = str(group[0]) if group[0] == group[1] else f"{group[0]}-{group[1]}"
    return f"{_host(address)}:{text}->{text}/{protocol}" if address else f"{text}/{protocol}"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
