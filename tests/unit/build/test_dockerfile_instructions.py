"""Each row of the language's reference table: instruction, flag, and what it comes to."""

import importlib
import pkgutil

import pytest
from tests.unit.build.planned import PATH, Images, as_document, environment, last, plan, vertex

from corten.build.dockerfile import instructions
from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.instructions import INSTRUCTIONS
from corten.build.dockerfile.stages import parse_dockerfile
from corten.build.operations import (
    BaseImage,
    Context,
    Copy,
    Device,
    Download,
    GitCheckout,
    InlineFiles,
    LinkedCopy,
    MakeDirectory,
    Merge,
    Mount,
    Run,
    Source,
)
from corten.spec.oci_image import ImageConfig

SHELL = ("/bin/sh", "-c")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "sha256:" + "0" * 64


def run(text: str, **request) -> Run:
    operation = vertex(text, **request).operation
    assert isinstance(operation, Run)
    return operation


def copy(text: str, **request) -> Copy:
    found = vertex(text, **request)
    operation = found.inputs[1].operation if isinstance(found.operation, Merge) else found.operation
    assert isinstance(operation, Copy)
    return operation


def mount(text: str) -> Mount:
    (found,) = run(f"WORKDIR /w\nRUN --mount={text} true").mounts
    return found


def config(text: str) -> dict:
    return {name: value for name, value in as_document(last(text).config).items() if name not in ("Env", "WorkingDir")}


TABLE = {
    "# directive syntax": lambda: (
        parse_dockerfile(b"# syntax=docker/dockerfile:1\nFROM a").source.directives.syntax == "docker/dockerfile:1"
    ),
    "# directive escape": lambda: (
        environment(plan("# escape=`\nFROM scratch\nENV A=a`\nb B=c\\d")) == {"A": "ab", "B": "c\\d"}
    ),
    "# directive check": lambda: plan("# check=skip=all\nFROM scratch\nMAINTAINER x").findings == (),
    "FROM --platform": lambda: plan("FROM --platform=linux/arm64 base AS x").target.platform == "linux/arm64",
    "ARG": lambda: (
        environment(plan("ARG G=g\nFROM scratch\nARG G\nARG A=1 B=$G\nENV X=$A$B$G", build_args={"A": "9"}))
        == {"X": "9gg"}
    ),
    "ARG (BuildKit builtin args)": lambda: (
        run("RUN --mount=type=cache,id=c,target=/c true", build_args={"BUILDKIT_CACHE_MOUNT_NS": "ns"}).mounts[0].id
        == "ns/c"
    ),
    "ENV": lambda: (
        environment(plan("FROM scratch\nENV A=1\nENV A=2 B=$A\nENV C d $B")) == {"A": "2", "B": "1", "C": "d 1"}
    ),
    "LABEL": lambda: config('LABEL a=b "c d"=e\nLABEL f g h') == {"Labels": {"a": "b", "c d": "e", "f": "g h"}},
    "MAINTAINER": lambda: plan("FROM scratch\nMAINTAINER me $X").target.author == "me $X",
    "RUN shell form": lambda: run("RUN a  b $X").args == (*SHELL, "a  b $X"),
    "RUN exec form": lambda: run('RUN ["a", "b c"]').args == ("a", "b c"),
    "RUN heredoc": lambda: run("RUN <<EOF\na\n$b\nEOF").args == (*SHELL, "a\n$b\n"),
    "RUN heredoc, tabs": lambda: run("RUN <<-EOF\n\ta\n\t\tb\n\tEOF").args == (*SHELL, "a\nb\n"),
    "RUN heredoc, several": lambda: run("RUN <<A cat <<B\na\nA\nb\nB").args == (*SHELL, "<<A cat <<B\na\nA\nb\nB"),
    "RUN heredoc, shebang": lambda: (
        (script := vertex("RUN <<EOF\n#!/usr/bin/python\nprint(1)\nEOF")).operation.args == ("/dev/pipes/EOF",)
        and script.operation.mounts[0].target == "/dev/pipes/"
        and script.inputs[1].operation == InlineFiles(files=(("EOF", b"#!/usr/bin/python\nprint(1)\n"),), mode=0o755)
    ),
    "RUN --mount=type=bind": lambda: (
        mount("target=x,source=s") == Mount(kind="bind", target="/w/x", input=1, source="/s", read_only=True)
        and not mount("dst=/x,rw").read_only
    ),
    "RUN --mount=type=cache": lambda: (
        mount("type=cache,target=/c,sharing=locked,mode=0700,uid=1,gid=2")
        == Mount(kind="cache", target="/c", id="/c", sharing="locked", mode=0o700, uid=1, gid=2)
    ),
    "RUN --mount=type=tmpfs": lambda: (
        mount("type=tmpfs,target=/t,size=2m") == Mount(kind="tmpfs", target="/t", size=2 << 20)
    ),
    "RUN --mount=type=secret": lambda: (
        mount("type=secret,id=a/b,required")
        == Mount(kind="secret", target="/run/secrets/b", id="a/b", required=True, mode=0o400, read_only=True)
    ),
    "RUN --mount=type=secret, env": lambda: (
        mount("type=secret,id=a,env=TOKEN")
        == Mount(kind="secret", target="", id="a", env="TOKEN", mode=0o400, read_only=True)
    ),
    "RUN --mount=type=ssh": lambda: (
        mount("type=ssh")
        == Mount(kind="ssh", target="/run/buildkit/ssh_agent.0", id="default", mode=0o600, read_only=True)
    ),
    "RUN --network": lambda: (
        run("RUN --network=none true").network == "none"
        and run("RUN --network=default true", network="host").network == "host"
    ),
    "RUN --security": lambda: run("RUN --security=insecure true").security == "insecure",
    "RUN --device": lambda: (
        run("RUN --device=a.com/gpu=0,required --device=name=b.com/x true").devices
        == (Device(name="a.com/gpu=0", required=True), Device(name="b.com/x"))
    ),
    "COPY --from": lambda: isinstance(
        plan("FROM scratch\nCOPY --from=base /a /b").target.steps[-1].vertex.inputs[1].operation, BaseImage
    ),
    "COPY --chown": lambda: copy("ARG U=7\nCOPY --chown=$U:g a /b").owner == "7:g",
    "COPY --chmod": lambda: copy("COPY --chmod=u+x a /b").mode == "u+x",
    "COPY --link": lambda: (
        isinstance(copy("COPY --link a /b"), LinkedCopy)
        and isinstance(copy("COPY --link --chown=1:2 a /b"), LinkedCopy)
        and all(
            type(copy(f"COPY {flags} a /b")) is Copy
            for flags in ("--link=false", "--link --chown=me", "--link --chown=1:me", "--link --chmod=755")
        )
    ),
    "COPY --parents": lambda: copy("COPY --parents ./x/./a/*.txt /b/").parents,
    "COPY --exclude": lambda: copy("COPY --exclude=*.md --exclude=!a.md . /b").excludes == ("*.md", "!a.md"),
    "COPY heredoc": lambda: (
        vertex("ENV X=1\nCOPY <<a <<'b' /d/\n$X '\"\na\n$X\nb").inputs[1].operation
        == InlineFiles(files=(("a", b"1 '\"\n"), ("b", b"$X\n")))
    ),
    "ADD local archives": lambda: copy("ADD a.tar /b").sources == (Source(path="a.tar", unpack=True),),
    "ADD URL": lambda: (
        vertex("ADD https://x/y/z.tgz?q /b").inputs[1].operation == Download(url="https://x/y/z.tgz?q")
        and copy("ADD https://x/y/z.tgz?q /b").sources == (Source(path="z.tgz"),)
    ),
    "ADD git": lambda: (
        vertex("ADD https://x/y.git#v1:sub /b").inputs[1].operation
        == GitCheckout(remote="https://x/y.git", ref="v1", subdir="sub")
    ),
    "ADD --keep-git-dir": lambda: (
        vertex("ADD --keep-git-dir git://x/y.git /b").inputs[1].operation
        == GitCheckout(remote="git://x/y.git", keep_git_dir=True)
    ),
    "ADD --checksum": lambda: (
        vertex(f"ADD --checksum={SHA256} http://x/y /b").inputs[1].operation
        == Download(url="http://x/y", checksum=SHA256)
        and vertex(f"ADD --checksum={COMMIT} git://x/y /b").inputs[1].operation
        == GitCheckout(remote="git://x/y", checksum=COMMIT)
    ),
    "ADD --chown/--chmod/--link/--exclude": lambda: (
        copy("ADD --chown=1 --chmod=600 --link --exclude=x a /b")
        == Copy(
            sources=(Source(path="a", unpack=True),),
            destination="/b",
            owner="1",
            mode="600",
            link=True,
            excludes=("x",),
        )
    ),
    "ADD --unpack": lambda: (
        copy("ADD --unpack=false a.tar /b").sources == (Source(path="a.tar"),)
        and copy("ADD --unpack http://x/y.tar /b").sources == (Source(path="y.tar", unpack=True),)
    ),
    "CMD": lambda: config('CMD a\nCMD ["b"]') == {"Cmd": ["b"], "ArgsEscaped": True},
    "ENTRYPOINT": lambda: config("ENTRYPOINT a b") == {"Entrypoint": [*SHELL, "a b"]},
    "EXPOSE": lambda: (
        config("ENV P=9\nEXPOSE 80 53/UDP $P 1-2/sctp")["ExposedPorts"].keys()
        == {"80/tcp", "53/udp", "9/tcp", "1/sctp", "2/sctp"}
    ),
    "VOLUME": lambda: config('VOLUME /a b\nVOLUME ["/c d"]')["Volumes"].keys() == {"/a", "b", "/c d"},
    "USER": lambda: run("ENV U=me\nUSER $U:g\nRUN x").user == "me:g",
    "WORKDIR": lambda: vertex("WORKDIR /a\nWORKDIR b/../c").operation == MakeDirectory(path="/a/c"),
    "ONBUILD": lambda: (
        config("ONBUILD COPY --from=x . $D\nONBUILD RUN <<A\nx\nA")
        == {"OnBuild": ["COPY --from=x . $D", "RUN <<A\nx\nA"]}
    ),
    "STOPSIGNAL": lambda: config("ENV S=TERM\nSTOPSIGNAL SIG$S") == {"StopSignal": "SIGTERM"},
    "HEALTHCHECK": lambda: (
        config("HEALTHCHECK --interval=1m --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD x")
        == {
            "Healthcheck": {
                "Test": ["CMD-SHELL", "x"],
                "Interval": 60 * 10**9,
                "Timeout": 2 * 10**9,
                "StartPeriod": 3 * 10**9,
                "StartInterval": 4 * 10**9,
                "Retries": 5,
            }
        }
    ),
    "SHELL": lambda: run('SHELL ["/bin/bash", "-xc"]\nRUN a').args == ("/bin/bash", "-xc", "a"),
    "contexts --build-context": lambda: (
        plan("FROM scratch\nCOPY --from=data a /", contexts={"data": "local:data"})
        .target.steps[-1]
        .vertex.inputs[1]
        .operation
        == Context(name="data")
    ),
}


@pytest.mark.parametrize("holds", TABLE.values(), ids=TABLE)
def test_the_row_of_the_reference(holds):
    assert holds()


def test_the_table_of_instructions_has_each_once():
    modules = [
        importlib.import_module(f"{instructions.__name__}.{module.name}")
        for module in pkgutil.iter_modules(instructions.__path__)
    ]
    named = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    assert {each for each in named if issubclass(each, Instruction) and each.keyword} == set(INSTRUCTIONS)
    keywords = [instruction.keyword for instruction in INSTRUCTIONS]
    assert len(keywords) == len(set(keywords)) == 18
    for keyword in keywords:
        assert any(row.startswith(keyword) for row in TABLE), keyword


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RUN --mount=type=secret,env=A true", "one of source, target required"),
        ("RUN --mount=type=secret,id=a,source=b true", "both source and id can't be set"),
        ("RUN --mount=type=bind,target=/x,mode=1 true", 'mode not allowed for "bind" type mounts'),
        ("RUN --mount=type=bind,target=/x,sharing=private true", "invalid cache sharing set for bind mount"),
        ("RUN --mount=type=tmpfs,from=base,target=/x true", "tmpfs mount should not have a from"),
        ("RUN --mount=type=cache,target=/x,size=1 true", 'size not allowed for "cache" type mounts'),
        ("RUN --mount=type=cache,target=/x,env=A true", 'env not allowed for "cache" type mounts'),
        ('RUN --mount=type=cache,\\"target=/x true', "failed to parse csv mounts"),
        ("RUN --mount=type=bind,target=/.. true", 'invalid mount target "/"'),
        ("RUN --device= true", "failed to parse csv devices"),
        ("RUN --device=required true", "device name is required"),
        ("RUN --device=a,b=c true", "unexpected key 'b' in 'b=c'"),
        ("COPY --exclude a /b", "missing a value on flag: exclude"),
        ("ADD --checksum=zz git://x/y /b", "invalid git checksum zz"),
        (f"ADD --checksum={SHA256} http://x/a http://x/b /b/", "checksum can't be specified for multiple sources"),
        (f"ADD --checksum={SHA256} a /b", "checksum requires HTTP(S) or Git sources"),
        ("ADD http://[x/y /b", "invalid URL"),
        ("ADD http://u:pass@h:x/y /b", "invalid URL http://xxxxx:xxxxx@h:x/y"),
        ("ADD ssh://git:secret@x/y /b", "git over ssh takes no password"),
        ("ADD https://x/y.git?tag=1&branch=2 /b", "branch conflicts with tag"),
        ("ADD https://x/y.git#--upload-pack=x /b", "invalid git ref"),
        ("ADD --keep-git-dir=false https://x/y.git?keep-git-dir=1 /b", "inconsistent keep-git-dir"),
        (f"ADD --checksum={COMMIT} https://x/y.git?commit={'b' * 40} /b", "checksum conflicts"),
        ("ADD --link=x a /b", "expecting boolean value for flag link, not: x"),
        ("ENV V=\nVOLUME $V", "VOLUME specified can not be an empty string"),
        ("STOPSIGNAL SIGRTMAX+1", "invalid signal"),
        ("HEALTHCHECK --interval=1.5.5s CMD x", "time: invalid duration"),
        ("ENV --x=1 a=b", "unknown flag: x"),
        ('COPY <<"../a" /x\n../a', 'the heredoc "../a" is to be a file'),
        ("ADD <<.. /x\n..", 'the heredoc ".." is to be a file'),
        ("RUN <<a/b\n#!/x\na/b", 'the heredoc "a/b" is to be a file'),
        ("COPY a\0 /x", "a NUL character stands in an instruction"),
        ('COPY ["a\\u0000", "/x"]', "a NUL character stands in a JSON array"),
    ],
)
def test_what_cannot_be_is_refused(text, reason):
    with pytest.raises(DockerfileError) as caught:
        plan(f"FROM scratch\n{text}")
    assert reason in caught.value.reason
    assert caught.value.lines[0] >= 2


@pytest.mark.parametrize(
    ("destination", "absolute"),
    [
        ("x", "/w/x"),
        ("x/", "/w/x/"),
        (".", "/w/"),
        ("./", "/w/"),
        ("/", "/"),
        ("..", "/"),
        ("/a/../b", "/b"),
        ("$D/", "/d/"),
    ],
)
def test_destinations_are_absolute_and_say_whether_they_are_directories(destination, absolute):
    assert copy(f"ENV D=/d\nWORKDIR /w\nCOPY a {destination}").destination == absolute


def test_run_sees_arguments_and_its_history_too_but_not_proxies():
    result = plan(
        "FROM scratch\nARG A=1\nARG no_proxy\nENV B=2\nRUN x",
        build_args={"A": "3", "HTTP_PROXY": "http://me:secret@p", "no_proxy": "n"},
    )
    step = result.target.steps[-1]
    operation = step.vertex.operation
    assert step.created_by == "RUN |2 A=3 no_proxy=n /bin/sh -c x # buildkit"
    assert operation.env == (PATH, "A=3", "no_proxy=n", "B=2")
    assert operation.secret_env == ("HTTP_PROXY=http://me:secret@p",)
    assert "secret" not in str([each.created_by for each in result.target.steps]) + str(step.config)


def test_env_and_arg_write_one_environment_and_only_env_stays():
    result = plan("FROM scratch\nENV A=1\nARG A=2\nRUN x\nENV B=$A")
    assert result.target.steps[-2].vertex.operation.env == (PATH, "A=2")
    assert environment(result) == {"A": "1", "B": "2"}


def test_the_bases_configuration_is_gone_on_from():
    base = ImageConfig(
        env=["A=1"], cmd=["c"], entrypoint=["e"], working_dir="/w", user="u", shell=["/s"], labels={"l": "1"}
    )
    result = plan("FROM base\nENV B=$A\nENTRYPOINT x\nWORKDIR y\nRUN z", Images({"base": base}))
    found = as_document(result.target.steps[-1].config)
    assert found == {
        "User": "u",
        "Env": ["A=1", PATH, "B=1"],
        "WorkingDir": "/w/y",
        "Entrypoint": ["/s", "x"],
        "Labels": {"l": "1"},
        "Shell": ["/s"],
    }
    assert result.target.steps[-1].vertex.operation.user == "u"


def test_the_requests_labels_win():
    result = plan("FROM scratch\nLABEL a=1", labels={"a": "2", "b": "$x"})
    assert result.target.steps[-1].config.labels == {"a": "2", "b": "$x"}


def test_a_history_that_no_image_could_have_is_refused():
    with pytest.raises(DockerfileError, match="history is larger than the limit of 4194304") as caught:
        plan("FROM scratch\n" + "EXPOSE 1-65535\n" * 10)
    assert caught.value.lines == (6, 6)


@pytest.mark.parametrize("request_", [{"build_args": {"A": "\0"}}, {"labels": {"\0": ""}}, {"labels": {"a": "\0"}}])
def test_a_request_has_no_nul_characters(request_):
    with pytest.raises(DockerfileError, match="NUL"):
        plan("FROM scratch", **request_)
