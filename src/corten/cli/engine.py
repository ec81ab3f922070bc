"""Which engine a command speaks to, and the daemon that is started when the default one does not answer."""

from __future__ import annotations

from corten.cli.environment import variable
from corten.client.address import DEFAULT_HOST, parse_address
from corten.client.api import Client
from corten.client.dial import dial
from corten.client.errors import EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from corten.client.address import Address


def client_for(settings: dict[str, object]) -> Client:
    """The client of the engine that --host, CORTEN_HOST or DOCKER_HOST name, else of the default one."""
    host, is_default = chosen_host(settings)
    address = parse_address(host)
    if address.kind == "tcp":
        from corten.cli.tls_options import tls_files

        address.tls = tls_files(settings)
    return Client(address, connect=_dial_or_start if is_default else dial)


def chosen_host(settings: dict[str, object]) -> tuple[str, bool]:
    """The engine's address, and whether it is the default one, whose daemon may be started on demand."""
    host = settings.get("host")
    if isinstance(host, list) and host:
        found = str(host[-1])
    else:
        found = variable("CORTEN_HOST") or variable("DOCKER_HOST") or DEFAULT_HOST
    return found, found == DEFAULT_HOST


def _dial_or_start(address: Address) -> _socket.socket:
    try:
        return dial(address)
    except EngineUnreachable as error:
        if not isinstance(error.__cause__, (FileNotFoundError, ConnectionRefusedError)):
            raise
    from corten.cli.launch import start_daemon

    return start_daemon(address)
