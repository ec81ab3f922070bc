"""Dockerfiles of many kinds, and the context that they copy from. Each is `name: (text, flags of docker build)`."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

BASE = "FROM busybox\n"
BUILD_STAGE = "FROM busybox AS build\nRUN mkdir /o && echo built >/o/f\n"


def write_context(root: Path) -> None:
    """Files, links, modes, archives and what .dockerignore names."""
    for directory in ("dir/sub/deep", "empty", "site-packages/a", "bin"):
        (root / directory).mkdir(parents=True)
    for name in (
        "a.txt",
        "b.txt",
        "c.md",
        "dir/d.txt",
        "dir/e.md",
        "dir/sub/f.txt",
        "dir/sub/deep/g.txt",
        "with space",
    ):
        (root / name).write_text(f"{name}\n")
    (root / "bin/tool").write_text("#!/bin/sh\necho tool\n")
    os.chmod(root / "bin/tool", 0o755)
    os.chmod(root / "c.md", 0o600)
    (root / "dir/link").symlink_to("d.txt")
    (root / "dirlink").symlink_to("dir")
    (root / "site-packages/a/ignored.pyc").write_text("x")
    (root / ".dockerignore").write_text("**/*.pyc\n.dockerignore\nDockerfile.*\n")
    with tarfile.open(root / "files.tar.gz", "w:gz") as archive:
        for name, data in (("t/one", b"1"), ("t/two", b"22")):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(data), 0o640, 5, 6
            member.mtime = 1_100_000_000
            archive.addfile(member, io.BytesIO(data))
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, (1_000_000_000 + number,) * 2, follow_symlinks=False)


CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "copy everything": (BASE + "COPY . /all\n", ()),
    "copy one file": (BASE + "COPY a.txt /x\n", ()),
    "copy into a directory that is missing": (BASE + "COPY a.txt /x/y/\n", ()),
    "copy several": (BASE + "COPY a.txt b.txt dir /x/\n", ()),
    "copy a directory's content": (BASE + "COPY dir /x\nCOPY dir/ /y/\nCOPY dir/sub /x/\n", ()),
    "copy by wildcard": (BASE + "COPY *.txt dir/*/f?txt /x/\n", ()),
    "copy the mode": (BASE + "COPY c.md bin/tool /x/\n", ()),
    "copy links": (BASE + "COPY dir/link /x/\nCOPY dirlink /y\n", ()),
    "copy over what is there": (BASE + "COPY a.txt /x\nCOPY b.txt /x\n", ()),
    "copy into a link to a directory": (BASE + "RUN mkdir /real && ln -s real /ln\nCOPY a.txt /ln/\n", ()),
    "copy with an owner": (BASE + "COPY --chown=7:8 dir /x\nCOPY --chown=9 a.txt /y/z/\n", ()),
    "copy with an owner by name": (
        BASE + "RUN echo me:x:77:88::/:/bin/sh >>/etc/passwd\nCOPY --chown=me a.txt /x\n",
        (),
    ),
    "copy with a mode": (BASE + "COPY --chmod=4711 a.txt bin/tool /x/\n", ()),
    "copy a directory with a mode": (BASE + "COPY --chmod=750 dir /x\nCOPY --chmod=700 dir/sub /x/\n", ()),
    "copy a name with a space": (BASE + 'COPY ["with space", "/x y/"]\n', ()),
    "copy to relative paths": (BASE + "WORKDIR /w/v\nCOPY a.txt .\nCOPY b.txt ./sub/\nCOPY c.md ../up\n", ()),
    "copy an empty directory": (BASE + "COPY empty /x/empty\n", ()),
    "copy a link": (BASE + "COPY --link a.txt /x/\n", ()),
    "copy a link into a directory": (
        BASE + "RUN mkdir -m 755 /d && touch /d/x\nCOPY --link a.txt /d/\nCOPY --link dir /d/e\n",
        (),
    ),
    "copy here-documents": (
        BASE + "ARG V=1\nCOPY <<one <<'two' <<-three /h/\n$V ${V:+x} \"q\"\none\n$V\ntwo\n\t\ttabs\n\tthree\n",
        (),
    ),
    "copy one here-document": (BASE + "COPY --chmod=755 <<EOF /usr/bin/x\n#!/bin/sh\necho \\$1\nEOF\n", ()),
    "add an archive": (BASE + "ADD files.tar.gz /x/\nADD a.txt /x/\n", ()),
    "add with an owner": (BASE + "ADD --chown=1:2 a.txt /x\n", ()),
    "copy an archive": (BASE + "COPY files.tar.gz /x/\n", ()),
    "run": (BASE + "RUN echo hi >/f && mkdir -p /a/b && chmod 700 /a && ln -s f /l\n", ()),
    "run deletes": (BASE + "RUN mkdir /d && touch /d/1 /d/2\nRUN rm -r /d/1\nRUN rm -r /d && touch /d\n", ()),
    "run in exec form": (BASE + 'RUN ["touch", "/a b"]\n', ()),
    "run here-documents": (
        BASE + "ENV V=v\nRUN <<EOF\necho $V >/a\nX=1\necho $X >>/a\nEOF\nRUN cat <<E >/b\n$V\nE\n",
        (),
    ),
    "run a script": (BASE + "RUN <<EOF\n#!/bin/cat\nthe script\nEOF\nRUN <<-X\n\techo $0 >/a\n\tX\n", ()),
    "run as someone": (BASE + "RUN mkdir -m 777 /t\nUSER 12:34\nRUN id -u >/t/u; touch /t/f\n", ()),
    "run in a directory": (BASE + "WORKDIR /w\nRUN pwd >p\nWORKDIR deeper\nRUN pwd >p\n", ()),
    "run with another shell": (BASE + 'SHELL ["/bin/sh", "-ec"]\nRUN echo $0 $- >/f\nCMD x\n', ()),
    "run sees arguments and environment": (
        BASE + "ARG A=1\nARG B\nENV C=$A\nRUN echo $A-$B-$C >/f\nENV A=env\nRUN echo $A >/g\n",
        ("--build-arg", "B=given"),
    ),
    "run over several lines": (BASE + "RUN echo a \\\n  # comment\n\n  b \\\n  >/f\n", ()),
    "run with mounts": (
        BASE + "WORKDIR /w\nRUN --mount=target=m --mount=type=tmpfs,target=/t cp m/a.txt /a && touch /t/x && ls m >/b\n"
        "RUN --mount=type=cache,target=/c,mode=0700 touch /c/x && stat -c %a /c >/s\n",
        (),
    ),
    "run with a stage's files": (
        BUILD_STAGE + "FROM busybox\nARG D=m\nRUN --mount=from=build,source=o,target=/$D cp /m/f /got\n",
        (),
    ),
    "environment": (BASE + "ENV A=1 B=\"x y\" C='$A'\nENV D=$A$B E=${F:-f}\nENV A 2 3\nENV P=${PATH#/usr}\n", ()),
    "labels": (BASE + 'LABEL a=b "c d"="e f"\nLABEL multi="x \\\ny"\n', ("--label", "given=1")),
    "commands": (BASE + 'CMD ["a"]\nENTRYPOINT e "$X"\nCMD b\n', ()),
    "entrypoint takes away the base's command": (BASE + 'ENTRYPOINT ["e"]\n', ()),
    "ports, volumes, user, signal": (
        BASE + 'EXPOSE 80 1000-1002/udp\nVOLUME /v ["/w"]\nUSER me:us\nSTOPSIGNAL SIGINT\nVOLUME ["/x y"]\n',
        (),
    ),
    "health": (BASE + "HEALTHCHECK --interval=1m30s --retries=2 CMD test -e /f\n", ()),
    "no health": (BASE + 'HEALTHCHECK CMD ["x"]\nHEALTHCHECK NONE\n', ()),
    "working directories": (BASE + "WORKDIR a\nWORKDIR b/../c\nWORKDIR /d e\n", ()),
    "author": (BASE + "MAINTAINER Me <me@here>\n", ()),
    "triggers": (
        BASE.replace("\n", " AS parent\n") + "ONBUILD ENV X=1\nONBUILD RUN echo $X >/x\nFROM parent\nRUN echo y >/y\n",
        (),
    ),
    "triggers stay in an image": (BASE + "ONBUILD COPY . /src\nONBUILD RUN make\n", ()),
    "stages": (
        BUILD_STAGE
        + "FROM busybox AS unused\nRUN false\nFROM scratch\nCOPY --from=build /o /o\nCOPY --from=0 /o/f /g\n",
        (),
    ),
    "a target": ("FROM busybox AS one\nENV A=1\nFROM one AS two\nENV B=2\nFROM two\nRUN false\n", ("--target", "two")),
    "a stage keeps owners": (
        "FROM busybox AS a\nRUN mkdir /o && touch /o/f && mkdir -m 700 /o/d && chown -R 3:4 /o && chmod 710 /o\nFROM busybox\nCOPY --from=a /o /o\n",
        (),
    ),
    "files of an image": ("FROM scratch\nCOPY --from=busybox /bin/busybox /bin/\nENV A=1\n", ()),
    "global arguments": (
        "ARG NAME=busybox\nARG X=1\nFROM $NAME\nARG X\nARG NAME\nENV A=$X-$NAME\nARG X=2\nENV B=$X\n",
        ("--build-arg", "NAME=busybox:latest"),
    ),
    "scratch": ("FROM scratch\nCOPY a.txt /\n", ()),
    "another escape": ("# escape=`\n" + BASE + "ENV A=a` b `\n B=c\\d\nCOPY a.txt `\n /x\n", ()),
    "carriage returns and a byte order mark": (
        "\ufeff" + (BASE + "ENV A=1 \\\n B=2\nRUN echo x >/f\n").replace("\n", "\r\n"),
        (),
    ),
    "platform arguments": (
        BASE + "ARG TARGETARCH\nARG TARGETOS=own\nENV A=$TARGETARCH B=$TARGETOS C=[$TARGETPLATFORM]\n",
        (),
    ),
    "copy without some": (BASE + "COPY a.txt dir /x/\nRUN rm /x/a.txt\nCOPY b.txt /x/a.txt\n", ()),
}
