"""The daemon's life: locks, zygote, loop, listeners, signals, an orderly end. Daemon only."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket

from corten.daemon.builder_settings import without_effect
from corten.daemon.config import Config
from corten.daemon.locks import exclusive, pidfile
from corten.daemon.reload import reload
from corten.daemon.sockets import Listener, open_listeners, tls_context
from corten.lib import blocking
from corten.linux.heap import share_arenas

_LOG = logging.getLogger("corten.daemon")
_GARBAGE = 5000  # objects before garbage is looked for: an answer makes some hundreds, and hardly any of it


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    if os.geteuid() != 0:
        _LOG.error("the daemon must run as root")
        return 1
    os.umask(0o022)
    share_arenas()
    for name in (*config.unused(), *without_effect(config["builder"])):
        _LOG.warning("option has no effect", extra={"option": name})
    with exclusive(config), pidfile(config.pidfile):
        asyncio.run(_serve(config))
        return 0


async def _serve(config: Config) -> None:
    from corten.daemon.wire import Engine

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.set_exception_handler(_unhandled)
    engine = Engine(config)
    engine.open()
    _oom_score(config)
    _descriptors()
    listeners: list[Listener] = []
    try:
        await engine.recover()
        loop.add_signal_handler(signal.SIGHUP, _reload, config, engine)
        listeners = open_listeners(config)
        tls = tls_context(config) if any(listener.tls for listener in listeners) else None
        for listener in listeners:
            await engine.server.listen(listener.sock, tls=tls if listener.tls else None)
            _LOG.info("API listen on %s", listener.host)
        engine.ready()
        # What was made until now lives as long as the daemon: full collections need not walk it any more.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        _notify("READY=1")
        _LOG.info("daemon has completed initialization", extra={"pid": os.getpid()})
        await ended.wait()
        _notify("STOPPING=1")
        _LOG.info("daemon is shutting down")
    finally:
        for listener in listeners:
            listener.withdraw()
        await engine.close()
        for listener in listeners:
            listener.close()
        blocking.shutdown()


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:  # noqa: ARG001 - asyncio's form
    error = context.get("exception")
    _LOG.error("unhandled: %s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)


def _reload(config: Config, engine: object) -> None:
    from corten.daemon.wire import Engine

    assert isinstance(engine, Engine)
    attributes = reload(config, engine.apply)
    if attributes is not None:
        engine.announce_reload(attributes)


def _oom_score(config: Config) -> None:
    """Set after the zygote was forked: containers must not inherit it."""
    if "oom-score-adjust" in config.given:
        try:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(config.number("oom-score-adjust")))
        except OSError as error:
            _LOG.warning("oom_score_adj could not be set: %s", error)


def _descriptors() -> None:
    """As many as are allowed: each client and container takes some. The zygote gives containers the limit of before."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)), if one asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(address.replace("@", "\0", 1))
            sock.send(state.encode())
