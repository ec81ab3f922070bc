"""Answers of an engine, made up to have something in each column, and the commands that show them."""

from __future__ import annotations

import shlex
from typing import Any

ID = "0123456789ab" * 5 + "cdef"
OTHER = "fedcba987654" * 5 + "3210"
IMAGE = "sha256:" + "ab" * 32
_LONG_AGO = 1000000000

CONTAINERS = [
    {
        "Id": ID,
        "Names": ["/web", "/db/alias"],
        "Image": "nginx:1.27",
        "ImageID": IMAGE,
        "Command": "/docker-entrypoint.sh nginx -g 'daemon off;'",
        "Created": _LONG_AGO,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 91, "PublicPort": 91, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 90, "PublicPort": 90, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            {"PrivatePort": 53, "Type": "udp"},
            {"PrivatePort": 54, "Type": "udp"},
        ],
        "SizeRw": 12345,
        "SizeRootFs": 98765432,
        "Labels": {"com.example.team-name": "blue"},
        "State": "running",
        "Status": "Up 3 hours (healthy)",
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [
            {"Type": "volume", "Name": "a-rather-long-volume-name", "Source": "", "Driver": "local"},
            {"Type": "bind", "Source": "/srv"},
        ],
    },
    {
        "Id": OTHER,
        "Names": ["/job"],
        "Image": IMAGE,
        "ImageID": IMAGE,
        "Command": "sh",
        "Created": _LONG_AGO,
        "Ports": [],
        "Labels": {},
        "State": "exited",
        "Status": "Exited (3) 2 days ago",
        "HostConfig": {"NetworkMode": "none"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    },
]
IMAGES = [
    {
        "Id": IMAGE,
        "ParentId": "",
        "RepoTags": ["nginx:1.27", "nginx:latest"],
        "RepoDigests": ["nginx@sha256:" + "cd" * 32],
        "Created": _LONG_AGO,
        "Size": 187654321,
        "SharedSize": -1,
        "Labels": None,
        "Containers": -1,
    },
    {
        "Id": "sha256:" + "12" * 32,
        "RepoTags": [],
        "RepoDigests": [],
        "Created": _LONG_AGO - 5,
        "Size": 999,
        "SharedSize": -1,
        "Containers": -1,
    },
    {
        "Id": "sha256:" + "34" * 32,
        "RepoTags": ["localhost:5000/x/y:z"],
        "RepoDigests": [],
        "Created": _LONG_AGO - 6,
        "Size": 5,
        "SharedSize": -1,
        "Containers": -1,
    },
    {
        "Id": "sha256:" + "56" * 32,
        "RepoTags": None,
        "RepoDigests": ["busybox@sha256:" + "ef" * 32],
        "Created": _LONG_AGO - 7,
        "Size": 4270000,
        "SharedSize": -1,
        "Containers": -1,
    },
]
INSPECT: dict[str, Any] = {
    "Id": ID,
    "Created": "2001-09-09T01:46:40.123456789Z",
    "Path": "sh",
    "Args": ["-c", "x"],
    "State": {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 4242,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2001-09-09T01:46:40.123456789Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Image": IMAGE,
    "Name": "/web",
    "RestartCount": 0,
    "HostConfig": {
        "Binds": None,
        "NetworkMode": "bridge",
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "AutoRemove": False,
        "Memory": 536870912,
        "PidsLimit": None,
        "CapAdd": None,
    },
    "Mounts": [
        {"Type": "bind", "Source": "/srv", "Destination": "/data", "Mode": "ro", "RW": False, "Propagation": "rprivate"}
    ],
    "Config": {
        "Hostname": "web",
        "Env": ["A=b", "C=d e"],
        "Cmd": None,
        "Image": "nginx",
        "Volumes": None,
        "Labels": {"b": "2", "a": "<1>"},
        "Tty": False,
        "OpenStdin": False,
    },
    "NetworkSettings": {
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
            "9/udp": None,
        },
        "Networks": {"bridge": {"IPAddress": "172.17.0.2", "Aliases": None}},
    },
}
NETWORKS = [
    {
        "Name": name,
        "Id": ident,
        "Created": "2001-09-09T01:46:40.1234Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "Internal": False,
        "Labels": {"k": "v"},
    }
    for name, ident, driver in (("none", ID, "null"), ("bridge", OTHER, "bridge"))
]
VOLUMES = {
    "Volumes": [
        {"Name": "zeta", "Driver": "local", "Mountpoint": "/v/zeta", "Labels": None, "Scope": "local", "Options": None},
        {
            "Name": "alpha",
            "Driver": "nfs",
            "Mountpoint": "/v/alpha",
            "Labels": {"a": "b"},
            "Scope": "global",
            "Options": None,
        },
    ],
    "Warnings": None,
}
HISTORY = [
    {
        "Id": IMAGE,
        "Created": _LONG_AGO,
        "CreatedBy": "/bin/sh -c echo a rather long command that does not fit here",
        "Size": 0,
        "Comment": "buildkit",
    },
    {"Id": "<missing>", "Created": _LONG_AGO - 9, "CreatedBy": "COPY a b", "Size": 1234567, "Comment": ""},
]
SEARCH = [
    {
        "name": "nginx",
        "description": "Official build of Nginx, which is a web server and much more",
        "star_count": 20000,
        "is_official": True,
        "is_automated": False,
    },
    {"name": "me/nginx", "description": "", "star_count": 3, "is_official": False, "is_automated": True},
]
DF = {
    "LayersSize": 200000000,
    "Images": [{**IMAGES[0], "SharedSize": 1000, "Containers": 1}, {**IMAGES[2], "SharedSize": 0, "Containers": 0}],
    "Containers": CONTAINERS,
    "Volumes": [
        {**VOLUMES["Volumes"][0], "UsageData": {"Size": 5000, "RefCount": 0}},
        {**VOLUMES["Volumes"][1], "UsageData": {"Size": 7000, "RefCount": 2}},
    ],  # type: ignore[index]
    "BuildCache": [],
}
_STATS = {
    "name": "/web",
    "id": ID,
    "read": "2001-09-09T01:46:41Z",
    "preread": "2001-09-09T01:46:40Z",
    "pids_stats": {"current": 7},
    "cpu_stats": {"cpu_usage": {"total_usage": 300000000}, "system_cpu_usage": 2000000000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 100000000}, "system_cpu_usage": 1000000000, "online_cpus": 2},
    "memory_stats": {"usage": 50000000, "limit": 2000000000, "stats": {"inactive_file": 10000000}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}, {"op": "write", "value": 123456}]},
    "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 2500000}},
}
_EVENTS = (
    b'{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"web","image":"x"}},'
    b'"scope":"local","time":1000000000,"timeNano":1000000000123456789}\n'
    b'{"Type":"network","Action":"connect","Actor":{"ID":"def","Attributes":{}},'
    b'"scope":"local","time":1000000001,"timeNano":1000000001000000000}\n'
)
_PULL = (
    b'{"status":"Pulling from library/nginx","id":"1.27"}\r\n'
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}\r\n'
    b'{"status":"Downloading","progressDetail":{"current":1000,"total":5000},"progress":"x","id":"aaaaaaaaaaaa"}\r\n'
    b'{"status":"Pull complete","progressDetail":{},"id":"aaaaaaaaaaaa"}\r\n'
    b'{"status":"Already exists","progressDetail":{},"id":"bbbbbbbbbbbb"}\r\n'
    b'{"status":"Digest: sha256:cdcd"}\r\n'
    b'{"status":"Status: Downloaded newer image for nginx:1.27"}\r\n'
)
_BROKEN_PULL = (
    b'{"status":"Pulling from library/broken","id":"latest"}\r\n'
    b'{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}\r\n'
)
_LAYERS = b"".join(
    b'{"status":"%b","progressDetail":%b,"id":"%b"}\r\n' % (status, detail, layer)
    for status, detail, layer in (
        (b"Pulling fs layer", b"{}", b"aaaaaaaaaaaa"),
        (b"Pulling fs layer", b"{}", b"bbbbbbbbbbbb"),
        (b"Waiting", b"{}", b"cccccccccccc"),
        (b"Downloading", b'{"current":1000,"total":5000000}', b"aaaaaaaaaaaa"),
        (b"Downloading", b'{"current":2500000,"total":5000000}', b"bbbbbbbbbbbb"),
        (b"Downloading", b'{"current":5000000,"total":5000000}', b"aaaaaaaaaaaa"),
        (b"Verifying Checksum", b"{}", b"aaaaaaaaaaaa"),
        (b"Downloading", b'{"current":123456}', b"cccccccccccc"),
        (b"Downloading", b'{"current":70,"total":60}', b"cccccccccccc"),
        (b"Extracting", b'{"current":33,"total":100,"units":"s"}', b"bbbbbbbbbbbb"),
        (b"Extracting", b'{"current":3,"units":"s"}', b"bbbbbbbbbbbb"),
        (b"Extracting", b'{"current":33,"total":100,"hidecounts":true}', b"bbbbbbbbbbbb"),
        (b"Pull complete", b"{}", b"aaaaaaaaaaaa"),
    )
)
_BARS = b'{"status":"Pulling from x","id":"latest"}\r\n' + _LAYERS + b'{"status":"Digest: sha256:cd"}\r\n' + _LAYERS


def _pulled(asked: Any) -> tuple[int, bytes]:
    name = dict(asked.query).get("fromImage", "").rpartition("/")[2]
    return 200, {"bars": _BARS, "broken": _BROKEN_PULL}.get(name, _PULL)


def _created(asked: Any) -> tuple[int, Any]:
    """Images are there but nope; some cannot become containers."""
    image = asked.json["Image"]
    refused = {
        "nope": (404, "No such image: nope:latest"),
        "taken": (409, 'Conflict. The container name "/x" is already in use by container "cafe".'),
        "nofile": (400, "stat /x: no such file or directory"),
        "denied": (400, "open /x: permission denied"),
        "netless": (404, "network nope not found"),
    }
    if image in refused:
        status, text = refused[image]
        return status, {"message": text}
    return 201, {"Id": ID, "Warnings": ["a thing to know"] if image == "warned" else []}


def answers() -> dict[str, Any]:
    """For FakeEngine."""
    no_container = (404, {"message": "No such container: nope"})
    found: dict[str, Any] = {
        "GET /containers/json": (200, CONTAINERS),
        "GET /images/json": (200, IMAGES),
        "GET /containers/web/json": (200, INSPECT),
        "GET /containers/nope/json": no_container,
        "GET /images/nope/json": (404, {"message": "No such image: nope:latest"}),
        "GET /networks/nope": (404, {"message": "network nope not found"}),
        "GET /volumes/nope": (404, {"message": "get nope: no such volume"}),
        "GET /images/nginx/json": (200, {"Id": IMAGE, "RepoTags": ["nginx:1.27"], "Config": {"Cmd": ["x"]}}),
        "GET /containers/nginx/json": (404, {"message": "No such container: nginx"}),
        "GET /networks": (200, NETWORKS),
        "GET /networks/bridge": (200, NETWORKS[1]),
        "GET /volumes": (200, VOLUMES),
        "GET /volumes/zeta": (200, VOLUMES["Volumes"][0]),  # type: ignore[index]
        "GET /images/nginx/history": (200, HISTORY),
        "GET /images/search": (200, SEARCH),
        "GET /system/df": (200, DF),
        "GET /events": (200, _EVENTS),
        "GET /containers/web/stats": (200, _STATS),
        f"GET /containers/{ID}/stats": (200, _STATS),
        f"GET /containers/{OTHER}/stats": (200, {**_STATS, "name": "/job", "id": OTHER}),
        "GET /containers/web/top": (
            200,
            {
                "Titles": ["UID", "PID", "CMD"],
                "Processes": [["root", "1", "sh -c x"], ["www-data", "4242", "nginx: worker"]],
            },
        ),
        "GET /containers/web/changes": (
            200,
            [{"Path": "/a", "Kind": 0}, {"Path": "/b", "Kind": 1}, {"Path": "/c", "Kind": 2}],
        ),
        f"GET /containers/{ID}/logs": (200, b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n"),
        "GET /containers/web/export": (200, b"TAR"),
        "GET /images/get": (200, b"TAR"),
        "POST /images/create": _pulled,
        "POST /containers/create": _created,
        "POST /images/docker.io/library/bars/push": (200, _BARS),
        "POST /images/load": (200, b'{"stream":"Loaded image: nginx:1.27\\n"}\r\n'),
        "POST /images/docker.io/library/nginx/push": (
            200,
            b'{"status":"The push refers to repository [docker.io/library/nginx]"}\r\n{"status":"Pushed","progressDetail":{},"id":"aaaaaaaaaaaa"}\r\n{"status":"1.27: digest: sha256:cd size: 5"}\r\n{"progressDetail":{},"aux":{"Tag":"1.27","Digest":"sha256:cd","Size":5}}\r\n',
        ),
        "POST /images/nginx:1.27/tag": (201, b""),
        "DELETE /images/nginx": (200, [{"Untagged": "nginx:latest"}, {"Deleted": IMAGE}]),
        "DELETE /images/nope": (404, {"message": "No such image: nope:latest"}),
        "DELETE /containers/web": (204, None),
        "DELETE /containers/nope": no_container,
        "DELETE /networks/mine": (204, None),
        "DELETE /networks/nope": (404, {"message": "network nope not found"}),
        "DELETE /volumes/zeta": (204, None),
        "DELETE /volumes/nope": (404, {"message": "get nope: no such volume"}),
        "POST /containers/nope/start": no_container,
        "POST /containers/nope/stop": no_container,
        "POST /containers/nope/kill": no_container,
        "POST /containers/nope/pause": no_container,
        "POST /containers/nope/wait": no_container,
        "POST /containers/nope/exec": no_container,
        "POST /containers/nope/rename": no_container,
        "POST /containers/web/wait": (200, {"StatusCode": 7}),
        "POST /containers/web/update": (200, {"Warnings": ["something to know"]}),
        "POST /commit": (201, {"Id": IMAGE}),
        "POST /networks/create": (201, {"Id": ID, "Warning": ""}),
        "POST /volumes/create": (201, {"Name": "fresh", "Driver": "local"}),
        "POST /networks/mine/connect": (200, None),
        "POST /networks/mine/disconnect": (200, None),
        "POST /containers/prune": (200, {"ContainersDeleted": [ID, OTHER], "SpaceReclaimed": 12345}),
        "POST /networks/prune": (200, {"NetworksDeleted": ["mine"]}),
        "POST /volumes/prune": (200, {"VolumesDeleted": ["v1"], "SpaceReclaimed": 99}),
        "POST /images/prune": (
            200,
            {"ImagesDeleted": [{"Untagged": "x:1"}, {"Deleted": IMAGE}], "SpaceReclaimed": 5000000},
        ),
        "POST /build/prune": (200, {"CachesDeleted": None, "SpaceReclaimed": 0}),
        "POST /containers/web/exec": (201, {"Id": "e" * 64}),
        "POST /auth": (200, {"Status": "Login Succeeded", "IdentityToken": ""}),
        "GET /info": (
            200,
            {"OSType": "linux", "ServerVersion": "1", "IndexServerAddress": "https://index.docker.io/v1/"},
        ),
        "HEAD /containers/nope/archive": (404, b""),
    }
    return found


_LINES = r"""
ps
ps -a
ps -q
ps -q --no-trunc
ps --no-trunc
ps -s
ps -n 3
ps -l
ps --filter status=running --filter label=a=b -f label=c
ps --format '{{.ID}}: {{.Names}} {{.Ports}}'
ps --format 'table {{.Names}}\t{{.Status}}\t{{.Label "com.example.team-name"}}'
ps --format json
ps --format '{{json .}}' --no-trunc
ps --format 'table {{.ID}} {{.Size}} {{.Mounts}} {{.Networks}} {{.LocalVolumes}} {{.CreatedAt}}'
ps --format '{{.Foo}}'
ps --format '{{.ID'
ps --format '{{if eq .State "running"}}up{{else}}down{{end}} {{pad .State 2 3}}|'
ps --format 'table {{upper .Names}}\t{{json .Image}}'
ps -aq --filter name=x
ps extra
container ls
container ps -a
images
images -q
images -q --no-trunc
images --digests
images --no-trunc
images -a
images nginx
images --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedAt}}'
images --format json
images --filter dangling=true
image ls
network ls
network ls -q
network ls --no-trunc
network ls --format '{{.Name}} {{.CreatedAt}} {{.IPv6}} {{.Internal}} {{.Labels}}'
network ls --format json
network ls -f driver=bridge
volume ls
volume ls -q
volume ls --format '{{.Name}} {{.Mountpoint}} {{.Labels}} {{.Scope}} {{.Size}} {{.Links}}'
volume ls --format json
history nginx
history --no-trunc nginx
history -q nginx
history -H=false nginx
history --format '{{.ID}} {{.CreatedAt}} {{.Comment}}' nginx
search nginx
search --no-trunc --limit 5 nginx
search --format '{{.Name}} {{.StarCount}} {{.IsOfficial}}' nginx
system df
system df --format '{{.Type}} {{.Size}} {{.Reclaimable}}'
top web
top web -o pid,cmd
diff web
port web
port web 80
port web 80/tcp
port web 81
port web x
logs web
logs -f --tail 5 -t --since 2001-01-01T00:00:00Z --until 2001-01-02T00:00:00.5Z web
logs --since 1000000000.5 web
logs nope
export web
save nginx
events --since 0 --until 1
events --since 0 --until 1 --format json
events --since 0 --until 1 --format '{{.Type}} {{.Action}} {{.Actor.ID}}' --filter type=container
stats --no-stream web
stats --no-stream --format '{{.Name}}: {{.CPUPerc}} {{.MemUsage}}' web
inspect web
inspect nginx
inspect web nope
inspect nope
inspect --type container nope
inspect --type foo web
inspect -f '{{.State.Status}} {{.State.Pid}} {{.State.Running}}' web
inspect -f '{{.Config.Env}} {{.Config.Labels}} {{.Config.Cmd}}' web
inspect -f '{{json .Config.Labels}}' web
ps --format '{{upper .Names}} {{truncate .Names 2}} {{.Names | printf "%q"}}'
inspect -f '{{.HostConfig.PortBindings}} {{.HostConfig.Binds}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy}}' web
inspect -f '{{.NetworkSettings.Ports}}' web
inspect -f '{{.Mounts}}' web
inspect -f '{{range .Mounts}}{{.Source}} -> {{.Destination}}{{end}}' web
inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}' web
inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' web
inspect -f '{{.State.Health}} {{.Config.Healthcheck}} {{.HostConfig.Mounts}}' web
inspect -f '{{.Nope}}' web
inspect -f '{{.State.Nope}}' web
inspect -f '{{.Name' web
inspect -f '{{nofunc .Name}}' web
inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web
inspect -f '{{index .Config.Labels "a"}} {{len .Config.Env}} {{join .Config.Env ","}} {{split .Name "/"}}' web
inspect -f '{{printf "%-8s|%5d|%v|%q" .Name .State.Pid .State.Running .Path}}' web
inspect -f '{{if .State.Running}}yes{{else if .State.Paused}}paused{{else}}no{{end}}' web
inspect -f '{{with .State}}{{.Pid}}{{end}} {{- " " -}} {{len .Args}} {{println "x" 1}}' web
inspect -f '{{and .State.Running .State.Pid}} {{or .State.Error "none"}} {{not .State.Running}}' web
inspect -f '{{eq .State.Pid 4242}} {{ne .Name "x"}} {{lt .State.Pid 5}} {{ge .State.Pid 5}}' web
inspect -f '{{.Created}}' web
inspect -f json nginx
inspect -f '{{.Id}}' nope
image inspect nope
image inspect -f '{{.Id}} {{.Config.Cmd}}' nginx
container inspect -s web
network inspect bridge
network inspect nope
volume inspect zeta
volume inspect -f '{{.Mountpoint}}' zeta
volume inspect zeta nope
start web
start web nope
start nope
stop web
stop -t 5 web nope
stop -s INT web
restart -t 0 web
kill -s HUP web
kill nope
pause web
pause nope
unpause web
wait web
wait nope web
rename web other
rename nope x
update -m 512m --cpus 2 --restart always web
update --pids-limit 5 web web
update web
rm web
rm -f web
rm -fv web nope
rm nope
rmi nginx
rmi nope
rmi -f nope nginx
tag nginx:1.27 me/nginx:2
tag nginx:1.27 Bad
commit web
commit -m msg -a me -c 'CMD x' -p=false web repo/x:1
pull nginx:1.27
pull nginx
pull -q nginx:1.27
pull -a nginx
pull -a nginx:1.27
pull broken
pull Bad
pull localhost:5000/nginx@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
pull --platform linux/arm64 nginx:1.27
history -q --platform linux/arm/v7 nginx:1.27
image inspect --platform linux/arm64 -f {{.Id}} nginx:1.27
save --platform linux/arm64 -o x.tar nginx:1.27
rmi --platform linux/arm64,linux/386 nginx:1.27
push nginx:1.27
push nginx
push -q nginx:1.27
load
load -q
import - me/x:1
import -c 'CMD x' -m msg http://example.com/x.tar
network create mine
network create -d bridge --subnet 10.0.0.0/8 --gateway 10.0.0.1 --ip-range 10.5.0.0/16 --aux-address a=10.0.0.5 --internal --ipv6 --label a=b -o x=y mine
network create --gateway 10.0.0.1 mine
network create --subnet 10.0.0.0/8 --subnet 10.1.0.0/16 mine
network create --subnet 10.0.0.0/8 --subnet fd00::/64 --gateway fd00::1 mine
network rm mine
network rm mine nope
network connect --ip 10.0.0.5 --alias a --link x:y mine web
network disconnect -f mine web
volume create
volume create -d local -o type=nfs -o o=addr --label a=b name
volume rm zeta
volume rm zeta nope
volume rm -f nope
container prune
container prune -f
container prune -f --filter until=24h
network prune -f
volume prune -f
volume prune -af
image prune -f
image prune -a -f --filter label=x
image prune
system prune
system prune -f
system prune -af --volumes
exec web
exec -d web touch /x
exec -d -e A=b -u 5 -w /x --privileged web touch /x
exec -it web sh
run -it busybox
run --rm Bad
cp nope:/x /tmp
cp a b
cp a:b c:d
logout reg.example
logs
run
ps --nosuch
create nope
create --pull never nope
create --pull missing -q nope
create --pull always nginx
create --pull bogus nginx
create taken
create nofile
create netless
create warned
create Bad
create --cidfile /nonexist/x nginx
create --cidfile env nginx
create --env-file /nonexist nginx
run --pull never nope
run nope
run taken
run nofile
run denied
run --pull never netless
run --cidfile env nginx
run -d -a stdout nginx
run --env-file /nonexist nginx
exec --env-file /nonexist web x
exec -it nope sh
exec -e =x web y
logs --since bogus web
logs --until bogus web
logs --since bogus nope
import
import a b c
import a BAD
import env BAD
save -o /nonexist/x nginx
save -o nodir/x nginx
save -o / nginx
export -o /nonexist/x nope
container -x
container --nosuch
image --nosuch=1
-l bogus ps
-c x ps
""".strip().splitlines()  # fmt: skip
SCREENS = (
    ("pull bars", 130),
    ("pull bars", 80),
    ("pull bars", 40),
    ("push bars", 130),
    ("pull broken", 100),
    ("ps", 80),
)
CASES = [shlex.split(line) for line in _LINES]
