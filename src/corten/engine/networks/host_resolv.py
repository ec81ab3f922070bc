"""The host's resolv.conf, read again when it changed. Daemon only; what it means is `network.hosts_files`."""

from __future__ import annotations

import os

from corten.network.hosts_files import ResolvConf, parse_resolv_conf

_PATH = "/etc/resolv.conf"
_BEHIND_STUB = "/run/systemd/resolve/resolv.conf"
_STUB = ("127.0.0.53",)
_MAX = 64 * 1024


def read_text(path: str, *, limit: int = _MAX) -> str:
    """A small file of the host's, `limit` characters at most (-1: all of it); empty when it is not there."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(limit)
    except OSError:
        return ""


class HostResolvConf:
    """Parsed once for each version of the file."""

    def __init__(self, path: str = _PATH) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (0, 0)
        self._parsed = ResolvConf()

    def reachable(self) -> ResolvConf:
        """For containers that ask the servers themselves: systemd-resolved's stub leads to the real ones."""
        parsed = self.current()
        if parsed.servers == _STUB:
            return parse_resolv_conf(read_text(_BEHIND_STUB)) or parsed
        return parsed

    def current(self) -> ResolvConf:
        """As it stands in the file."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = (-1, 0)
        if stamp != self._stamp:
            self._parsed, self._stamp = parse_resolv_conf(read_text(self._path)), stamp
        return self._parsed
