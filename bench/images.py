"""Images: pull until ready to run, the first start, rmi, save, push, reading inside; and the peak memory of a pull.

Each engine has a real registry with the same data on its own loopback: peers run in namespaces of their own,
so theirs stands there too. Nothing is deleted between the engines' turns but what is measured.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.registry import real_registry

from bench.engines import CortenByCorten, CortenByDocker, Engine, engines
from bench.image_sources import IMAGES, registry_data
from bench.measure import table, timed

_READ = {
    "find": "for i in 1 2 3 4 5; do find / -xdev -name nothing; done",
    "stat": "for i in 1 2 3 4 5; do find / -xdev -size +100000k; done",
    "read": "for i in 1 2 3; do find / -xdev -type f -exec cat {} + > /dev/null; done",
}
_TIMED = "read begun _ < /proc/uptime; {}; read ended _ < /proc/uptime; echo $begun $ended"
Samples = dict[str, dict[str, list[float]]]


class Place:
    """An engine and the registry it pulls from."""

    def __init__(self, engine: Engine, host: str, scratch: Path) -> None:
        self.engine = engine
        self.host = host
        self.scratch = scratch

    def reference(self, image: str) -> str:
        """The name of an image in this place's registry."""
        return f"{self.host}/{image}:latest"

    def timed(self, *arguments: str) -> float:
        """Seconds of one command of the engine's client."""
        return timed(self.engine.argv(*arguments))

    def forget(self, image: str) -> float:
        """Seconds that `rmi` takes."""
        return self.timed("rmi", self.reference(image))

    def save(self, image: str) -> float:
        """Seconds of a save to a file that is not there yet."""
        folder, seen = self.engine.folder(self.scratch)
        (folder / "save.tar").unlink(missing_ok=True)
        return self.timed("save", "-o", f"{seen}/save.tar", self.reference(image))

    def push(self, image: str, number: int) -> float:
        """Seconds of a push to an empty registry."""
        folder = self.scratch / f"push-{self.engine.name.partition(' ')[0]}-{image}-{number}"
        with real_registry(folder, netns=self.engine.netns) as empty:
            name = f"{empty.host}/{image}:latest"
            self.engine.run("tag", self.reference(image), name)
            seconds = self.timed("push", *self.engine.plain_http, "-q", name)
            self.engine.run("rmi", name)
        return seconds

    def read(self, image: str, script: str) -> float:
        """Seconds that a shell script takes inside a running container, the second time; its start does not count."""
        name = "bench-read"
        self.engine.run("run", "-d", "--name", name, "--network", "none", self.reference(image), "sleep", "1000")
        try:
            self.engine.run("exec", name, "sh", "-c", script)
            begun, ended = self.engine.run("exec", name, "sh", "-c", _TIMED.format(script)).split()
            return float(ended) - float(begun)
        finally:
            self.engine.run("rm", "-f", name)


@contextlib.contextmanager
def places(found: list[Engine]) -> Iterator[list[Place]]:
    """The engines with their registries; Corten once, by the docker CLI."""
    data = registry_data()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corten-bench-", dir="/var/tmp")))
        result = []
        for number, engine in enumerate(engine for engine in found if not isinstance(engine, CortenByCorten)):
            folder = scratch / f"registry-{number}"
            folder.mkdir()
            (folder / "data").symlink_to(data / "data")
            registry = stack.enter_context(real_registry(folder, netns=engine.netns))
            result.append(Place(engine, registry.host, scratch))
        yield result


def round_of(place: Place, image: str, number: int, samples: Samples) -> None:
    """One round of all work with one image."""

    def note(what: str, seconds: float) -> None:
        samples.setdefault(what, {}).setdefault(place.engine.name, []).append(seconds)

    name = place.reference(image)
    peak = Peak(place.engine)
    note("pull", place.timed("pull", *place.engine.plain_http, "-q", name))
    peak.print(image)
    note("first start", place.timed("run", "--rm", "--network", "none", name, "true"))
    note("second start", place.timed("run", "--rm", "--network", "none", name, "true"))
    note("save", place.save(image))
    note("push", place.push(image, number))
    for what, script in _READ.items():
        note(what, place.read(image, script))
    time.sleep(1)
    note("rmi", place.forget(image))


class Peak:
    """The daemon's highest resident memory since its making (Corten alone)."""

    def __init__(self, engine: Engine) -> None:
        self._pid = engine.daemon.pid if isinstance(engine, CortenByDocker) else 0
        if self._pid:
            Path(f"/proc/{self._pid}/clear_refs").write_text("5")

    def print(self, image: str) -> None:
        """Say it."""
        if self._pid:
            lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
            high = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
            print(f"peak memory of pulling {image}: {high / 1024:.0f} MB", flush=True)


def main() -> None:
    """Optional arguments: the number of rounds (default 3), then the images."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with engines() as found, places(found) as here:
        for image in sys.argv[2:] or IMAGES:
            samples: Samples = {}
            for number in range(rounds):
                for place in here:
                    round_of(place, image, number, samples)
            for what, values in samples.items():
                table(f"{image}: {what}", values)


if __name__ == "__main__":
    main()
