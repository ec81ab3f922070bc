"""Pooled connections to registries, by host, TLS settings and proxy; a waiting one can be woken. Blocking; net threads.

urllib3 makes and keeps the connections. Its own classes wait for a peer until a timeout ends; these are told of the
`Cancel` of the request that their thread is at, so that giving up a pull does not wait for a registry that is silent.
Those with a policy connect to what that allows; they are shared with none that has no policy.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from corten.registry.cancel import Cancel
from corten.registry.endpoint import Endpoint
from corten.registry.guarded_dial import check_literal, dial
from corten.registry.inward import InwardPolicy
from corten.registry.proxies import Proxies
from corten.registry.tls import Certificates, find_certificates, tls_context

_POOL_LIMIT = 64
_HEAD_STALLS = 2
_Key = tuple[str, bool, Certificates | None, str]


class _AtWork(threading.local):
    """What this thread's request may be ended by, and how long a single write of it may take."""

    cancel: Cancel | None = None
    stall_s: float = 60.0


_at_work = _AtWork()


@contextmanager
def cancellable(cancel: Cancel, stall_s: float) -> Iterator[None]:
    """Let `cancel` wake the requests that this thread sends during the block."""
    _at_work.cancel, _at_work.stall_s = cancel, stall_s
    try:
        yield
    finally:
        _at_work.cancel = None


class _Wakeable:
    """What both kinds of connection add to urllib3's."""

    sock: socket.socket | None
    policy: ClassVar[InwardPolicy | None] = None

    def _new_conn(self) -> socket.socket:
        """A connected socket; where there is a policy, to an address that it allows, or to the proxy."""
        connection: Any = self
        if self.policy is None or connection.proxy is not None:
            return super()._new_conn()  # type: ignore[misc, no-any-return]
        try:
            return dial(self.policy, connection.host, connection.port, connection.timeout)
        except socket.gaierror as error:
            raise NameResolutionError(connection.host, connection, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(connection, f"Connection to {connection.host} timed out") from error
        except OSError as error:
            raise NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error

    def _wake(self) -> None:
        with suppress(OSError, TypeError):  # closed by now, or never opened
            # not the TLS socket's own: that one takes the state away under the thread that reads
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # type: ignore[arg-type]

    def _waking(self) -> Any:
        return _at_work.cancel.interrupting(self._wake) if _at_work.cancel else nullcontext()

    def connect(self) -> None:
        """Connect; from then on the time limit is that for each read and write."""
        with self._waking():
            super().connect()  # type: ignore[misc]
        if self.sock is not None:
            self.sock.settimeout(_at_work.stall_s)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request."""
        with self._waking():
            super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self) -> Any:
        """Wait for the head of the answer; one that comes byte by byte is not waited for without end."""
        watch = threading.Timer(_HEAD_STALLS * _at_work.stall_s, self._wake)
        watch.daemon = True
        watch.start()
        try:
            with self._waking():
                return super().getresponse()  # type: ignore[misc]
        finally:
            watch.cancel()


class _Plain(_Wakeable, HTTPConnection):
    pass


class _Secure(_Wakeable, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


def _classes(policy: InwardPolicy | None) -> dict[str, type[HTTPConnectionPool]]:
    """The pools' classes by scheme."""
    if policy is None:
        return {"http": _PlainPool, "https": _SecurePool}
    plain = type("_GuardedPlain", (_Plain,), {"policy": policy})
    secure = type("_GuardedSecure", (_Secure,), {"policy": policy})
    return {
        "http": type("_GuardedPlainPool", (_PlainPool,), {"ConnectionCls": plain}),
        "https": type("_GuardedSecurePool", (_SecurePool,), {"ConnectionCls": secure}),
    }


class Connections:
    """All pools of the daemon for one purpose; thread-safe."""

    def __init__(self, certs_dirs: tuple[str, ...], proxies: Proxies, policy: InwardPolicy | None = None) -> None:
        self._certs_dirs = certs_dirs
        self._proxies = proxies
        self._policy = policy
        self._classes = _classes(policy)
        self._lock = threading.Lock()
        self._pools: dict[_Key, urllib3.PoolManager] = {}

    def pool(self, scheme: str, netloc: str, endpoint: Endpoint) -> urllib3.PoolManager:
        """The pool for requests to `netloc` on behalf of `endpoint`. Raises RegistryError."""
        own = netloc == endpoint.host
        # a host other than the endpoint's own (a redirect, a token server) never profits from "insecure"
        verify = endpoint.verify or urlsplit(f"//{netloc}").hostname != urlsplit(f"//{endpoint.host}").hostname
        proxy = self._proxies.proxy_for(scheme, netloc)
        if proxy is not None and self._policy is not None:
            check_literal(self._policy, netloc)
        certificates = None
        if scheme == "https":
            ca, clients = (endpoint.ca, endpoint.clients) if own else ((), ())
            certificates = find_certificates(netloc, self._certs_dirs, ca, clients)
            if self._policy is not None:  # the daemon's own name is for registries, and for nobody who names a URL
                certificates = replace(certificates, clients=())
        key = (netloc if certificates else "", verify, certificates, repr(proxy))
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                if len(self._pools) >= _POOL_LIMIT:
                    self._forget()
                options: dict[str, Any] = {"num_pools": 32, "maxsize": 8, "block": False}
                if certificates is not None:
                    options["ssl_context"] = tls_context(certificates, verify=verify)
                    if not verify:
                        options["assert_hostname"] = False
                        options["cert_reqs"] = "CERT_NONE"
                        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                if proxy is None:
                    pool = urllib3.PoolManager(**options)
                else:
                    headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else None
                    context = tls_context(find_certificates("", ()), verify=True)
                    pool = urllib3.ProxyManager(proxy.url, proxy_headers=headers, proxy_ssl_context=context, **options)
                pool.pool_classes_by_scheme = self._classes
                self._pools[key] = pool
            return pool

    def close(self) -> None:
        """End the connections that nobody uses; those in use end with their answers."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        for pool in self._pools.values():
            pool.clear()
        self._pools.clear()
