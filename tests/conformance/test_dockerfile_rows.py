"""Every part of the Dockerfile language once, through the daemon: small Dockerfiles whose RUN steps and images show that each
part does what it is for. `ROWS` is the table of all parts; each test says which of them it shows."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import json
import lzma
import platform
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zstandard
from tests.lab import images
from tests.lab.built import said
from tests.lab.daemon import Daemon, running_daemon

Row = tuple[str, str]
T = TypeVar("T", bound=Callable[..., None])

ROWS: tuple[Row, ...] = (
    ("# directive", "syntax"), ("# directive", "escape"), ("# directive", "check"),
    ("FROM", "--platform"), ("ARG", ""), ("ARG", "BuildKit's own"), ("ENV", ""), ("LABEL", ""), ("MAINTAINER", ""),
    ("RUN", "shell, exec, heredoc"), ("RUN", "--mount=type=bind"), ("RUN", "--mount=type=cache"),
    ("RUN", "--mount=type=tmpfs"), ("RUN", "--mount=type=secret"), ("RUN", "--mount=type=ssh"), ("RUN", "--network"),
    ("RUN", "--security"), ("RUN", "--device"),
    ("COPY", "--from"), ("COPY", "--chown"), ("COPY", "--chmod"), ("COPY", "--link"), ("COPY", "--parents"),
    ("COPY", "--exclude"), ("COPY", "heredoc"),
    ("ADD", "sources"), ("ADD", "--keep-git-dir"), ("ADD", "--checksum"), ("ADD", "--chown, --chmod, --link, --exclude"),
    ("ADD", "--unpack"),
    ("CMD", ""), ("ENTRYPOINT", ""), ("EXPOSE", ""), ("VOLUME", ""), ("USER", ""), ("WORKDIR", ""), ("ONBUILD", ""),
    ("STOPSIGNAL", ""), ("HEALTHCHECK", ""), ("SHELL", ""), ("variables", ""), (".dockerignore", ""),
    ("build checks", ""), ("subrequests", "--call"), ("exporters", "--output"), ("cache", "--cache-to, --cache-from"),
    ("attestations", "--attest, --sbom, --provenance"), ("contexts", "--build-context"), ("entitlements", "--allow"),
    ("policy", "source policy"),
)  # fmt: skip
# Shown by other files: what needs a server, a client or a daemon of another kind.
ELSEWHERE: dict[Row, str] = {
    ("RUN", "--mount=type=secret"): "test_buildx_sessions.py::test_secrets_are_files_and_variables_of_one_step",
    ("RUN", "--mount=type=ssh"): "test_buildx_sessions.py::test_an_agent_of_the_client_answers_in_the_step",
    ("RUN", "--security"): "test_build_powers.py::test_an_insecure_step_is_privileged_and_the_next_one_is_not",
    ("RUN", "--device"): "test_build_powers.py::test_a_device_has_its_node_files_variables_and_hooks",
    ("entitlements", "--allow"): "test_build_powers.py::test_a_step_on_the_hosts_network_needs_the_clients_word",
    ("ADD", "--checksum"): "test_build_sources.py::test_an_unchanged_file_is_not_downloaded_again",
    ("ADD", "--keep-git-dir"): "test_build_sources.py::test_add_of_a_repository_with_its_git_directory_and_checksum",
    ("exporters", "--output"): "test_build_exports.py::test_one_build_has_several_outputs",
    ("cache", "--cache-to, --cache-from"): "test_build_caches_travel.py::test_a_build_that_an_imported_cache_has_fetches_no_layer",
    ("attestations", "--attest, --sbom, --provenance"): "test_build_exports.py::test_provenance_and_packages_stand_beside_the_image",
    ("contexts", "--build-context"): "test_build_sources.py::test_buildx_brings_named_contexts_of_all_kinds",
    ("policy", "source policy"): "test_buildkit_api.py::test_what_is_not_done_is_refused",
}  # fmt: skip
SHOWN: set[Row] = set()


def shows(*rows: Row) -> Callable[[T], T]:
    """Which rows a test is for."""
    SHOWN.update(rows)
    return lambda test: test


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


class Builds:
    """Builds Dockerfiles of one context; `config` is that of the last image."""

    def __init__(self, daemon: Daemon, context: Path) -> None:
        self.daemon = daemon
        self.context = context

    def __call__(self, text: str, *flags: str) -> str:
        (self.context / "Dockerfile").write_text(text)
        return said(self.daemon.corten("build", "-t", "row:1", *flags, str(self.context)))

    @property
    def image(self) -> dict[str, Any]:
        return self.daemon.inspect("row:1")

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.image["Config"]
        return found


@pytest.fixture
def build(daemon: Daemon, tmp_path: Path) -> Builds:
    context = tmp_path / "context"
    (context / "dir/sub").mkdir(parents=True)
    for name in ("a.txt", "b.md", "dir/c.txt", "dir/sub/d.txt", "dir/sub/e.md"):
        (context / name).write_text(f"{name}\n")
    return Builds(daemon, context)


CHECKED = (
    ("# check=skip=MaintainerDeprecated\nFROM busybox as b\nMAINTAINER me\nWORKDIR x\nCMD echo \\\n\n y\nEXPOSE 80/TCP\n",
     "FromAsCasing JSONArgsRecommended NoEmptyContinuation WorkdirRelativePath ExposeProtoCasing"),
    ("# check=skip=all\nFROM busybox as b\n", ""),
    ("# check=experimental=all\n\n# not x\nARG x=1\nFROM busybox\nCOPY b.md /\nENV K v\nARG SECRET_KEY\n",
     "InvalidDefinitionDescription LegacyKeyValueFormat SecretsUsedInArgOrEnv"),
    ('# check=experimental=all\nFROM busybox AS one\nFROM busybox AS one\nCOPY dir/c.txt /\nENV A=$NONE\nCMD ["a"]\nCMD ["b"]\n',
     "CopyIgnoredFile DuplicateStageName UndefinedVar MultipleInstructionsDisallowed"),
    ("FROM busybox AS Upper\nFROM --platform=linux/amd64 busybox AS scratch\nFROM --platform=$TARGETPLATFORM busybox\nMAINTAINER x\nrun true\nEXPOSE 1:2\n",
     "StageNameCasing FromPlatformFlagConstDisallowed ReservedStageName RedundantTargetPlatform MaintainerDeprecated ConsistentInstructionCasing ExposeInvalidFormat"),
    ("ARG TAG\nFROM busybox:${TAG}\nFROM ${NOPE:-busybox}\n", "InvalidDefaultArgInFrom UndefinedArgInFrom"),
)  # fmt: skip


@shows(("# directive", "syntax"), ("# directive", "escape"), ("# directive", "check"), ("build checks", ""))
def test_directives_and_what_the_checks_find(build: Builds) -> None:
    head = "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=MaintainerDeprecated\n"
    build(head + "FROM busybox\nMAINTAINER me\nRUN test `\n 'C:\\x' = \"C:\\\\x\"\n")
    (build.context / ".dockerignore").write_text("dir/c.txt\n")
    for text, names in CHECKED:
        assert found_in(build, text) == set(names.split()), text
    failed = build.daemon.corten("build", "-", input="# check=error=true\nFROM busybox as b\n", check=False)
    assert "lint violation found for rules: FromAsCasing" in failed.stderr


def found_in(build: Builds, text: str) -> set[str]:
    (build.context / "Dockerfile").write_text(text)
    done = build.daemon.corten("build", "--check", "--build-arg", "TAG=latest", str(build.context), check=False)
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("WARNING: ")}


@shows(("FROM", "--platform"), ("ARG", ""), ("ARG", "BuildKit's own"), ("variables", ""))
def test_platforms_arguments_and_variables(build: Builds) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    text = f"""ARG BASE=busybox
        ARG GLOBAL=g
        FROM --platform=$BUILDPLATFORM ${{BASE}} AS one
        ARG A=1 B GLOBAL
        ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH TARGETSTAGE
        RUN test "$A-$B-$GLOBAL" = 1-given-g && test $TARGETPLATFORM = linux/{machine} && test $BUILDOS/$TARGETARCH = linux/{machine}
        RUN test "$no_proxy" = x && case $HTTP_PROXY in *den.example) ;; *) exit 1;; esac
        FROM one
        RUN test "$A" = 1 && test -z "$BASE"
        ENV E=env.tar.gz U=
        LABEL all="$E ${{E}} ${{N:-w}} ${{U:-w}} [${{U-w}}] ${{E:+w}} ${{U+w}} ${{E#*.}} ${{E##*.}} ${{E%.*}} ${{E%%.*}} ${{E/r/R}} ${{E//./_}} \\$E"
        WORKDIR /$E
        RUN --mount=type=cache,target=/c,id=own touch /c/f
        """
    own = {"SOURCE_DATE_EPOCH": "1000000", "BUILDKIT_CACHE_MOUNT_NS": "ns", "BUILDKIT_SYNTAX": "docker/dockerfile:1"}
    switches = ("BUILD_NAME", "INLINE_CACHE", "MULTI_PLATFORM", "SANDBOX_HOSTNAME", "CONTEXT_KEEP_GIT_DIR")
    own |= {f"BUILDKIT_{name}": "1" for name in switches}
    given = {"B": "given", "HTTP_PROXY": "http://hidden.example", "no_proxy": "x", **own}
    words = build(text, *(word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")))
    assert "not consumed" not in words
    expected = "env.tar.gz env.tar.gz w w [] w w tar.gz gz env.tar env env.taR.gz env_tar_gz $E"
    assert build.config["Labels"]["all"] == expected
    assert build.config["WorkingDir"] == "/env.tar.gz"
    assert build.image["Created"] == "1970-01-12T13:46:40Z"
    assert "hidden" not in json.dumps(build.image) + build.daemon.out("history", "--no-trunc", "row:1")
    for word, text in (("${N:?told so}", "told so"), ("${N?it must}", "it must")):
        (build.context / "Dockerfile").write_text(f"FROM busybox\nENV A={word}\n")
        assert text in build.daemon.corten("build", str(build.context), check=False).stderr


@shows(
    ("ENV", ""), ("LABEL", ""), ("MAINTAINER", ""), ("CMD", ""), ("ENTRYPOINT", ""), ("EXPOSE", ""), ("VOLUME", ""),
    ("USER", ""), ("WORKDIR", ""), ("STOPSIGNAL", ""), ("HEALTHCHECK", ""), ("SHELL", ""),
)  # fmt: skip
def test_settings_of_the_image(build: Builds) -> None:
    build("""FROM busybox
        MAINTAINER Me <me@here.example>
        ENV A=1 B="x y"
        ENV C $A 2
        ENV A=2 D=$A
        LABEL a=b "c d"='e f'
        SHELL ["/bin/sh", "-ec"]
        RUN echo $- | grep e && test "$A-$B-$C-$D" = "2-x y-1 2-1"
        CMD lost
        ENTRYPOINT ["/bin/echo", "hi"]
        CMD there
        EXPOSE 80 1000-1001/udp 7/sctp
        WORKDIR /w
        WORKDIR made
        RUN test $PWD = /w/made && mkdir /data && touch /data/kept
        VOLUME /data
        VOLUME ["/v two"]
        USER nobody:www-data
        RUN test $(id -u):$(id -g) = 65534:33
        STOPSIGNAL SIGQUIT
        HEALTHCHECK --interval=1s --timeout=2s --start-period=3s --start-interval=500ms --retries=4 CMD true || false
        """)
    config = build.config
    assert {"A=2", "B=x y", "C=1 2", "D=1"} < set(config["Env"])
    assert config["Labels"] == {"a": "b", "c d": "e f"}
    assert build.image["Author"] == "Me <me@here.example>"
    assert (config["Entrypoint"], config["Cmd"]) == (["/bin/echo", "hi"], ["/bin/sh", "-ec", "there"])
    assert set(config["ExposedPorts"]) == {"80/tcp", "1000/udp", "1001/udp", "7/sctp"}
    assert set(config["Volumes"]) == {"/data", "/v two"}
    assert (config["User"], config["StopSignal"], config["Shell"]) == ("nobody:www-data", "SIGQUIT", ["/bin/sh", "-ec"])
    second = 10**9
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true || false"], "Interval": second, "Timeout": 2 * second, "StartPeriod": 3 * second,
        "StartInterval": second // 2, "Retries": 4,
    }  # fmt: skip
    assert build.daemon.out("run", "--rm", "row:1", "you") == "hi you"
    build("FROM row:1 AS second\nENTRYPOINT exec echo $0\nHEALTHCHECK NONE\n")
    assert build.config.get("Cmd") is None  # which goes with the base's ENTRYPOINT
    assert build.config["Healthcheck"]["Test"] == ["NONE"]
    assert build.daemon.out("run", "--rm", "row:1", "ignored") == "ignored"  # to the shell it is $0


@shows(("ONBUILD", ""))
def test_triggers_run_in_the_images_built_upon_theirs(build: Builds) -> None:
    build(
        "FROM busybox\nONBUILD COPY --from=busybox /bin/busybox /copied\n"
        "ONBUILD RUN --mount=from=busybox,target=/m test -e /m/bin/busybox && touch /made\nONBUILD ENV ON=1\n"
    )
    assert build.config["OnBuild"][2] == "ENV ON=1"
    build("FROM row:1\nRUN test -e /copied && test -e /made && test $ON = 1\n")
    assert not build.config.get("OnBuild")


COMMANDS = r"""FROM busybox AS other
RUN mkdir /o && echo other > /o/f
FROM busybox
ENV V=v
RUN echo $V > /shell
RUN ["touch", "/$V exec"]
RUN <<SCRIPT
set -e
echo $V > /script
test -e '/$V exec'
SCRIPT
RUN <<-OWN
	#!/bin/busybox cat
	its own
	OWN
RUN cat <<ONE > /one && cat <<'TWO' > /two
$V
ONE
$V
TWO
RUN test "$(cat /shell /script /one /two | tr '\n' ' ')" = 'v v v $V '
RUN --mount=type=bind,source=dir,dst=/b --mount=from=other,source=/o,target=/o,rw cat /b/c.txt && echo x > /o/f && ! touch /b/x
RUN --mount=type=bind,target=/b --mount=from=other,target=/oo,ro grep other /oo/o/f && ! touch /oo/x && test -e /b/a.txt
RUN --mount=type=cache,target=/c,mode=0751,uid=5,gid=6,sharing=locked test "$(stat -c %a,%u,%g /c)" = 751,5,6 && touch /c/kept
RUN --mount=type=cache,target=/d,id=/c,ro test -e /d/kept && ! touch /d/x
RUN --mount=type=tmpfs,target=/t,size=1m df /t | grep ' 1024 '
RUN --network=none test "$(ls /sys/class/net)" = lo
RUN --network=default ls /sys/class/net | grep eth0
RUN ! ls -d /b && ! ls -d /o && ! ls -d /c && ! ls -d /t
"""


@shows(
    ("RUN", "shell, exec, heredoc"), ("RUN", "--mount=type=bind"), ("RUN", "--mount=type=cache"),
    ("RUN", "--mount=type=tmpfs"), ("RUN", "--network"),
)  # fmt: skip
def test_commands(build: Builds) -> None:
    assert "its own\n" in build(COMMANDS)


COPIES = r"""FROM busybox AS first
RUN mkdir /real && ln -s /real /ln && echo first > /f
FROM first
COPY --from=first /f /stage
COPY --from=0 /f /number
COPY --from=busybox /etc/passwd /image
COPY --chown=nobody:33 --chmod=640 a.txt dir/sub /owned/
COPY --chmod=u=rwx,go= a.txt /symbolic
COPY --link a.txt /ln/
COPY --parents dir/./sub/*.txt dir/sub/e.md /parents/
COPY --exclude=*.txt --exclude=sub/d* dir /without/
COPY . /all
COPY <<one <<'two' /here/
$PATH
one
$PATH
two
RUN test "$(cat /stage /number | tr '\n' ' ')" = "first first " && grep -q nobody /image
RUN cd /owned && test "$(stat -c %a,%u,%g a.txt d.txt | uniq)" = 640,65534,33 && test $(stat -c %a /symbolic) = 700
RUN test ! -L /ln && test -e /ln/a.txt && test -z "$(ls /real)"
RUN cd /parents && test "$(find . -type f | sort | tr '\n' ' ')" = "./dir/sub/e.md ./sub/d.txt "
RUN cd /without && test "$(find . -type f | sort | tr '\n' ' ')" = "./sub/e.md "
RUN cd /all && test ! -e dir/c.txt && test -e b.md
RUN grep -q /bin /here/one && grep -q '^$PATH' /here/two
"""


@shows(
    ("COPY", "--from"), ("COPY", "--chown"), ("COPY", "--chmod"), ("COPY", "--link"), ("COPY", "--parents"),
    ("COPY", "--exclude"), ("COPY", "heredoc"), (".dockerignore", ""),
)  # fmt: skip
def test_copies(build: Builds) -> None:
    (build.context / ".dockerignore").write_text("# comment\n**/*.md\n!dir/sub/e.md\n")
    (build.context / "Dockerfile.dockerignore").write_text("dir/c.txt\n")
    build(COPIES)
    (build.context / "Dockerfile.dockerignore").unlink()
    build("FROM busybox\nCOPY . /all\nRUN cd /all && test ! -e b.md && test -e dir/sub/e.md && test -e dir/c.txt\n")


@shows(("ADD", "sources"), ("ADD", "--chown, --chmod, --link, --exclude"), ("ADD", "--unpack"))
def test_archives_are_unpacked(build: Builds) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("in/file")
        member.size, member.mtime = 3, int(time.time())
        tar.addfile(member, io.BytesIO(b"abc"))
    data = archive.getvalue()
    forms = {"tar": data, "gz": gzip.compress(data), "bz2": bz2.compress(data), "xz": lzma.compress(data)}
    forms["zst"] = zstandard.ZstdCompressor().compress(data)
    for name, content in forms.items():
        (build.context / f"t.{name}").write_bytes(content)
    text = "FROM busybox\nRUN mkdir /real && ln -s /real /ln\n"
    text += "".join(f"ADD t.{name} /{name}/\n" for name in forms)
    text += f"RUN for n in {' '.join(forms)}; do test $(cat /$n/in/file) = abc || exit 1; done\n"
    text += """ADD --unpack=false t.gz /packed/
        ADD --chown=7:8 --chmod=600 a.t?t dir /owned/
        ADD --exclude=*.md --exclude=sub/*.txt --exclude=sub dir /without/
        ADD --link a.txt /ln/
        RUN test -e /packed/t.gz && test "$(stat -c %a,%u,%g /owned/a.txt /owned/c.txt | uniq)" = 600,7,8
        RUN test "$(find /without -type f)" = /without/c.txt && test ! -L /ln && test -e /ln/a.txt
        """
    build(text)


@shows(("subrequests", "--call"))
def test_a_call_answers_and_builds_nothing(build: Builds) -> None:
    before = build.daemon.out("images", "-aq")
    (build.context / "Dockerfile").write_text("FROM busybox AS only\nRUN false\n")
    done = build.daemon.corten("build", "--call=check", str(build.context))
    assert "Check complete, no warnings found." in done.stdout
    assert build.daemon.out("images", "-aq") == before


def test_every_part_is_shown() -> None:
    assert sorted(SHOWN | set(ELSEWHERE)) == sorted(ROWS)
    assert not SHOWN & set(ELSEWHERE)
    for place in ELSEWHERE.values():
        file, _, name = place.partition("::")
        defined = ast.parse((Path(__file__).parent / file).read_text()).body
        assert name in {one.name for one in defined if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}, place
