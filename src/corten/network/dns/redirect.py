"""The packet filter rules inside a container that lead 127.0.0.11:53 to the embedded server's real ports. Pure.

The server listens on ports of the kernel's choice, so that a program in the container can have port 53 on all
addresses. One table of the container's own namespace; replies find their way back by connection tracking.
"""

from __future__ import annotations

import ipaddress

from corten.network import nft
from corten.network.hosts_files import EMBEDDED_SERVER

PORT = 53
_TABLE, _MAP = "corten-dns", "resolver"
_DSTNAT = -100


def redirect_table(*, udp_port: int, tcp_port: int) -> nft.Table:
    """The table for a server that listens on these ports."""
    address = ipaddress.ip_address(EMBEDDED_SERVER)
    elements = tuple(
        nft.port_target(nft.port_key(protocol, PORT, address), address, port)
        for protocol, port in (("udp", udp_port), ("tcp", tcp_port))
    )
    ports = nft.Set(_MAP, ("ipv4_addr", "inet_proto", "inet_service"), ("ipv4_addr", "inet_service"), elements)
    rule = (nft.dnat_by(4, _MAP, with_address=True),)
    return nft.Table(_TABLE, (ports,), (nft.Chain("output", (rule,), "nat", "output", _DSTNAT),))
