"""The newest Docker clients that Debian has: command line, buildx and compose of its testing suite.

Unpacked into a folder, never installed: they are programs of Go that run on any Debian. What the suite has moves; a
client that is newer than the one a test was written with is what the test is for.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.cache import cached, ensure_tools, run

_SUITE = "forky"
_PACKAGES = ("docker-cli", "docker-buildx", "docker-compose")
_SOURCE = (
    "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {suite}\nComponents: main\n"
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
)


def folder() -> Path:
    """The unpacked clients."""

    def build(path: Path) -> None:
        ensure_tools(apt_get="apt", dpkg_deb="dpkg")
        path.mkdir()
        state = path / "apt"
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (state / name).mkdir(parents=True)
        (state / "etc" / "testing.sources").write_text(_SOURCE.format(suite=_SUITE))
        (state / "status").touch()
        options = [
            f"Dir::State={state}",
            f"Dir::State::Lists={state}/lists",
            f"Dir::State::status={state}/status",
            f"Dir::Cache={state}/cache",
            "Dir::Etc::sourcelist=/dev/null",
            f"Dir::Etc::sourceparts={state}/etc",
            "Acquire::Languages=none",
            "APT::Sandbox::User=root",
        ]
        flags = [word for option in options for word in ("-o", option)]
        run("apt-get", *flags, "update", "-qq")
        run("apt-get", *flags, "download", "-qq", *_PACKAGES, cwd=state)
        for package in sorted(state.glob("*.deb")):
            run("dpkg-deb", "-x", str(package), str(path))
        run("rm", "-r", str(state))

    return cached("clients", " ".join(_PACKAGES) + f" {_SUITE} {_SOURCE}", build)


def docker() -> str:
    """The docker command of the folder."""
    return str(folder() / "usr/bin/docker")


def plugins() -> Path:
    """The directory of its plugins."""
    return folder() / "usr/libexec/docker/cli-plugins"
