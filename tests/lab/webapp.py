"""A web application as people run it, by docker compose: nginx before replicas in Python, redis beside them, two networks.

An `App` describes how the front finds the replicas; `Stack` brings one up in a folder, asks it, and takes it down. The
front writes a line for each request: the status and who was asked, several when it had to ask again.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import images, peers
from tests.lab.daemon import Daemon

_COMPOSE = """
services:
  front:
    image: nginx
    ports: ["127.0.0.1::80"]
    networks: [front]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    depends_on: {app: {condition: service_healthy}}
    stop_grace_period: 1s
  app:
    image: python:3.11
    command: python3 -S /app.py
    networks: [front, back]
    volumes: ["./app.py:/app.py:ro"]
    depends_on: {database: {condition: service_healthy}}
    healthcheck: {test: [CMD, python3, -S, /app.py, probe], interval: 5s, start_period: 30s, start_interval: 200ms}
%(app)s
  database:
    image: redis
    networks: [back]
    healthcheck: {test: [CMD, redis-cli, ping], interval: 5s, start_period: 30s, start_interval: 100ms}
networks:
  front:
  back: {internal: true}
"""
TIMEOUTS_S = 3.5  # the front's, one after the other, and a little
_NGINX = """
worker_processes 1;
error_log /dev/stderr error;
events { worker_connections 1024; }
http {
  log_format who "$status %(who)s";
  access_log /tmp/who who;
  %(http)s
  server {
    listen 80;
    location / {
      proxy_connect_timeout 1s;
      proxy_read_timeout 2s;
      proxy_next_upstream error timeout;
      %(location)s
    }
  }
}
"""
_SERVER = '''
import asyncio, signal, socket, sys

class Database:
    """One connection, made when it is first needed."""

    def __init__(self):
        self.lock, self.streams = asyncio.Lock(), None

    async def hit(self):
        async with self.lock:
            if self.streams is None:
                self.streams = await asyncio.open_connection("database", 6379)
            reader, writer = self.streams
            writer.write(b"INCR hits\\r\\n")
            return (await reader.readline())[1:].strip()

async def main():
    database, busy, name = Database(), set(), socket.gethostname().encode()

    async def serve(reader, writer):
        task = asyncio.current_task()
        busy.add(task)
        try:
            await reader.readuntil(b"\\r\\n\\r\\n")
            body = name + b" " + await database.hit() + b"\\n"
            address, port, *_ = writer.get_extra_info("sockname")
            me = b"Replica: %s:%d" % (address.encode(), port)
            writer.write(b"HTTP/1.0 200 OK\\r\\n%s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (me, len(body)) + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            busy.discard(task)

    server = await asyncio.start_server(serve, "", 8000, backlog=1024)
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    print("serving", flush=True)
    await end.wait()
    server.close()
    while busy:
        await asyncio.wait(busy)

if "probe" in sys.argv:
    with socket.create_connection(("127.0.0.1", 8000), 5) as probe:
        probe.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        sys.exit(b" 200 " not in probe.recv(100))
asyncio.run(main())
'''


@dataclass(frozen=True, kw_only=True)
class App:
    """How the front finds the replicas: lines of nginx's `http` and `location`, and of the service in compose.yaml.

    `who` is nginx's variable for the replica that was asked, `again` whether the front finds another one when that has
    gone, `port` the host's port that all replicas share.
    """

    name: str
    location: str
    who: str
    again: bool
    http: str = ""
    service: str = ""
    port: int = 0


BY_NAME = App(  # the name server's answers, asked for each second, in turn
    name="by-name",
    http="resolver 127.0.0.11 valid=1s ipv6=off;",
    location="set $app app; proxy_pass http://$app:8000;",
    who="$upstream_addr",
    again=True,
)
BY_ADDRESS = App(  # the service's own address, looked up once: it never changes
    name="by-address",
    location="proxy_pass http://shop:8000;",
    who="$upstream_http_replica",
    again=False,
    service="""
    labels: {corten.service: shop, corten.service.drain: 20s}
    ports: ["127.0.0.1:18474:8000"]
""",
    port=18474,
)


class Stack:
    """An App in a folder, as project `shop` of a daemon."""

    def __init__(self, daemon: Daemon, folder: Path, app: App) -> None:
        self.daemon = daemon
        self.app = app
        self._folder = folder
        (folder / "compose.yaml").write_text(_COMPOSE % {"app": app.service})
        (folder / "nginx.conf").write_text(_NGINX % {"http": app.http, "location": app.location, "who": app.who})
        (folder / "app.py").write_text(_SERVER)

    def compose(self, *arguments: str) -> str:
        """What `docker compose` prints."""
        plugin = peers.folder() / "usr/libexec/docker/cli-plugins/docker-compose"
        argv = [str(plugin), "-p", "shop", "-f", str(self._folder / "compose.yaml"), *arguments]
        environment = {**self.daemon.environment, "DOCKER_HOST": self.daemon.host}
        result = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=180, check=False)
        if result.returncode != 0:
            told = f"{result.stderr}{self._probes()}{self.daemon.log_text()}"
            raise AssertionError(f"{arguments} exited {result.returncode}: {told}")
        return result.stdout

    def _probes(self) -> str:
        """What the health checks and the replicas themselves say."""
        names = self.daemon.out("ps", "-aq", "--filter", "label=com.docker.compose.project=shop").split()
        said = [self.daemon.docker("logs", "--tail", "20", name, check=False) for name in names]
        health = self.daemon.docker("inspect", "--format", "{{.Name}} {{json .State.Health}}", *names, check=False)
        return "\n".join([health.stdout, *(logs.stdout + logs.stderr for logs in said)])

    def scale(self, replicas: int) -> None:
        """So many replicas run and are healthy."""
        self.compose("up", "-d", "--wait", "--no-recreate", "--pull", "never", "--scale", f"app={replicas}")

    @property
    def url(self) -> str:
        """Where the host reaches the front."""
        return f"http://{self.daemon.out('port', 'shop-front-1', '80')}/"

    def address(self, container: str, network: str) -> str:
        """A container's address in `front` or `back`."""
        found: str = self.daemon.inspect(container)["NetworkSettings"]["Networks"][f"shop_{network}"]["IPAddress"]
        return found

    def connections(self) -> Counter[str]:
        """What each member of the service has got in the front's network."""
        (service,) = json.loads(self.daemon.corten("service", "inspect", "shop_front/shop").stdout)
        return Counter({member["Name"]: member["Connections"] for member in service["Members"]})

    def asked(self, latest: int = 0) -> list[str]:
        """What the front wrote of the latest requests, or of all."""
        count = ["-n", str(latest)] if latest else ["-n", "+1"]
        return self.daemon.out("exec", "shop-front-1", "tail", *count, "/tmp/who").splitlines()


CONNECTIONS = 16


class Load:
    """wrk in the host's network during a block, and then what became of its requests."""

    def __init__(self, daemon: Daemon, url: str) -> None:
        self._daemon = daemon
        self._url = url
        self.requests = 0
        self.errors = 0

    def __enter__(self) -> Load:
        wrk = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", "300s", "--timeout", "30s", self._url]
        self._daemon.docker("run", "-d", "--name", "load", "--network", "host", "load", *wrk)
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.docker("kill", "-s", "INT", "load", check=False)
        self._daemon.docker("wait", "load")
        report = self._daemon.out("logs", "load")
        self._daemon.docker("rm", "-f", "load")
        (requests,) = re.findall(r"(\d+) requests in", report)
        answers = re.findall(r"Non-2xx or 3xx responses: (\d+)", report)
        sockets = re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
        self.requests = int(requests)
        self.errors = sum(map(int, (*answers, *(number for found in sockets for number in found))))


def load_images(daemon: Daemon) -> None:
    """Everything an app and its load are made of."""
    for image in (images.nginx(), images.python(), images.redis(), images.load()):
        daemon.docker("load", "-i", str(image), timeout=300)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
