"""Images with the real client, and a real registry on loopback: names, lists, platforms, archives, tags, removal."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon
from tests.lab.registry import RealRegistry, real_registry

from corten.spec.platform import host_platform
from corten.testing.indexes import MadeIndex, files_of, make_index

HOST = str(host_platform())
OTHER = "linux/s390x"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def index() -> MadeIndex:
    """busybox for this machine, and something else for another one."""
    rootfs = images.busybox_rootfs().read_bytes()
    return make_index(
        {HOST: [], OTHER: [{"who": b"other"}]},
        tars={HOST: [rootfs]},
        config={"Cmd": ["cat", "/etc/passwd"], "Labels": {"made": "by hand"}},
    )


@pytest.fixture
def multi(daemon: Daemon, index: MadeIndex, tmp_path: Path) -> Iterator[str]:
    """The index, loaded under a name."""
    archive = tmp_path / "multi.tar"
    archive.write_bytes(index.layout("docker.io/library/multi:1"))
    daemon.out("load", "-i", str(archive))
    yield "multi:1"
    daemon.docker("rmi", "-f", "multi:1", check=False)


@pytest.fixture
def remote(daemon: Daemon, registry: RealRegistry) -> Iterator[str]:
    """A repository of this test's own in the registry, whose local names go afterwards."""
    name = f"{registry.host}/team/app"
    yield name
    ids = daemon.out("images", "-q", "--filter", f"reference={name}").split()
    if ids:
        daemon.docker("rmi", "-f", *dict.fromkeys(ids), check=False)
        daemon.docker("load", "-i", str(images.busybox()))


def rows(daemon: Daemon, *arguments: str) -> list[str]:
    return daemon.out("images", "--format", "{{.Repository}}:{{.Tag}}", *arguments).splitlines()


def test_a_push_and_a_pull_by_tag_and_by_digest(daemon: Daemon, remote: str) -> None:
    daemon.out("tag", "busybox", f"{remote}:1")
    pushed = daemon.out("push", f"{remote}:1").splitlines()
    assert pushed[0] == f"The push refers to repository [{remote}]"
    digest = pushed[-1].split("digest: ")[1].split()[0]
    assert daemon.out("inspect", "-f", "{{json .RepoDigests}}", f"{remote}:1") == f'["{remote}@{digest}"]'
    image_id = daemon.inspect(f"{remote}:1")["Id"]
    assert daemon.out("rmi", f"{remote}:1").splitlines() == [f"Untagged: {remote}:1", f"Untagged: {remote}@{digest}"]
    told = daemon.out("pull", f"{remote}:1").splitlines()
    assert told[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {remote}:1", f"{remote}:1"]
    assert daemon.out("pull", "-q", f"{remote}@{digest}") == f"{remote}@{digest}"
    assert daemon.inspect(f"{remote}@{digest}")["Id"] == image_id
    again = daemon.out("pull", f"{remote}:1").splitlines()
    assert f"Status: Image is up to date for {remote}:1" in again
    listed = daemon.out("images", "--digests", "--no-trunc", "--format", "{{.Tag}} {{.Digest}} {{.ID}}", remote)
    assert listed == f"1 {digest} {image_id}"
    assert daemon.out("run", "--rm", f"{remote}@{digest}", "echo", "it runs") == "it runs"


def test_all_tags_are_pushed_and_pulled(daemon: Daemon, remote: str) -> None:
    for tag in ("one", "two", "three"):
        daemon.out("tag", "busybox", f"{remote}:{tag}")
    told = daemon.out("push", "-a", remote)
    assert all(f"{tag}: digest: sha256:" in told for tag in ("one", "two", "three"))
    daemon.out("rmi", *(f"{remote}:{tag}" for tag in ("one", "two", "three")))
    assert rows(daemon, remote) == []
    assert daemon.corten("pull", "-a", remote).stdout.splitlines()[-1] == remote
    assert {f"{remote}:{tag}" for tag in ("one", "two", "three")} <= set(rows(daemon, remote))


def test_what_a_registry_has_is_told_without_a_pull(daemon: Daemon, remote: str) -> None:
    daemon.out("tag", "busybox", f"{remote}:known")
    digest = daemon.out("push", f"{remote}:known").splitlines()[-1].split("digest: ")[1].split()[0]
    found = json.loads(daemon.out("manifest", "inspect", "--insecure", f"{remote}:known"))
    assert found["config"]["digest"] == daemon.inspect("busybox")["Id"]
    import docker

    client = docker.DockerClient(base_url=daemon.host, version="1.50")
    try:
        data = client.images.get_registry_data(f"{remote}:known")
        assert data.id == digest
        assert data.has_platform(HOST)
        assert not data.has_platform("windows/amd64")
    finally:
        client.close()


def test_pulls_of_what_is_not_there_are_told_in_dockers_words(daemon: Daemon, registry: RealRegistry) -> None:
    for client in (daemon.docker, daemon.corten):
        missing = client("pull", f"{registry.host}/nothing:1", check=False)
        assert missing.returncode == 1
        assert f"manifest for {registry.host}/nothing:1 not found: manifest unknown" in missing.stderr


def test_a_tree_shows_platforms_sizes_and_use(daemon: Daemon, index: MadeIndex, multi: str) -> None:
    container = daemon.out("create", multi)
    drawn = daemon.out("images", "--tree", "--filter", "reference=multi").splitlines()
    lines = {line.split()[-1 if line.startswith(multi) else 1]: line for line in drawn if "linux/" in line}
    assert list(lines) == [HOST, OTHER]
    assert index.manifests[HOST][7:19] in lines[HOST]
    assert lines[HOST].rstrip().endswith("U")
    assert not lines[OTHER].rstrip().endswith("U")
    ours = daemon.corten("images", "--tree", "multi").stdout.splitlines()
    assert [line.split()[:3] for line in ours[2:]] == [
        ["├─", HOST, index.manifests[HOST][7:19]],
        ["└─", OTHER, index.manifests[OTHER][7:19]],
    ]
    assert [line.endswith("yes") for line in ours[1:]] == [True, True, False]
    daemon.out("rm", container)


def test_inspect_tells_the_index_and_its_manifests(daemon: Daemon, index: MadeIndex, multi: str) -> None:
    shown = daemon.inspect(multi)
    assert shown["Descriptor"]["digest"] == index.digest
    assert (shown["Id"], shown["Config"]["Labels"]) == (index.image_id(HOST), {"made": "by hand"})
    assert daemon.out("image", "inspect", "--platform", HOST, "-f", "{{.Id}}", multi) == index.image_id(HOST)
    refused = daemon.docker("image", "inspect", "--platform", "linux/386", multi, check=False)
    assert f"{multi} was found but does not provide the specified platform (linux/386)" in refused.stderr
    legacy = daemon.out("inspect", "--type", "image", "-f", "{{.Id}}", multi)
    assert legacy == index.image_id(HOST)
    assert daemon.out("run", "--rm", multi).startswith("root:x:0:0")


def test_save_and_load_keep_every_digest_of_an_index(
    daemon: Daemon, index: MadeIndex, multi: str, tmp_path: Path
) -> None:
    for client in (daemon.docker, daemon.corten):
        out = tmp_path / "out.tar"
        client("save", "-o", str(out), multi)
        found = {n[13:]: data for n, data in files_of(out.read_bytes()).items() if n.startswith("blobs/sha256/")}
        assert {f"sha256:{name}": data for name, data in found.items()} == index.blobs
        daemon.out("rmi", multi)
        packed = tmp_path / "out.tar.gz"
        packed.write_bytes(gzip.compress(out.read_bytes(), 1))
        assert client("load", "-i", str(packed)).stdout.strip() == f"Loaded image: {multi}"
        assert daemon.inspect(multi)["Descriptor"]["digest"] == index.digest


def test_one_platform_is_saved_and_loaded(daemon: Daemon, index: MadeIndex, multi: str, tmp_path: Path) -> None:
    out = tmp_path / "one.tar"
    daemon.out("save", "--platform", OTHER, "-o", str(out), multi)
    names = {name for name in files_of(out.read_bytes()) if name.startswith("blobs/sha256/")}
    assert names == {f"blobs/sha256/{digest[7:]}" for digest in index.belonging(OTHER)}
    refused = daemon.docker("save", "--platform", "linux/386", "-o", str(out), multi, check=False)
    assert "does not provide the specified platform (linux/386)" in refused.stderr
    whole = tmp_path / "whole.tar"
    daemon.out("save", "-o", str(whole), multi)
    daemon.out("rmi", multi)
    daemon.out("load", "--platform", OTHER, "-i", str(whole))
    assert daemon.out("inspect", "-f", "{{.Id}} {{.Architecture}}", multi) == f"{index.image_id(OTHER)} s390x"
    daemon.corten("rmi", multi)
    none = daemon.corten("load", "--platform", "linux/386", "-i", str(whole), check=False)
    assert none.returncode == 1
    assert "no matching manifest for linux/386 in the manifest list entries" in none.stderr


def test_platforms_are_taken_away(daemon: Daemon, index: MadeIndex, multi: str) -> None:
    refused = daemon.docker("rmi", "--platform", HOST, multi, check=False)
    assert f"image {index.image_id(HOST)[7:19]} is kept for this platform" in refused.stderr
    assert daemon.out("rmi", "--platform", OTHER, multi) == f"Deleted: {index.manifests[OTHER]}"
    assert f"{OTHER} (not here)" in daemon.corten("images", "--tree", "multi").stdout
    refused = daemon.corten("rmi", "--platform", OTHER, multi, check=False)
    assert f"does not provide the specified platform ({OTHER})" in refused.stderr
    assert f"Untagged: {multi}" in daemon.out("rmi", "--platform", HOST, multi)


def test_images_are_saved_by_several_names_ids_and_to_standard_output(daemon: Daemon, tmp_path: Path) -> None:
    daemon.out("tag", "busybox", "second:1")
    daemon.out("tag", "busybox", "second:2")
    image_id = daemon.inspect("busybox")["Id"]
    out = tmp_path / "several.tar"
    with out.open("wb") as file:
        import subprocess

        from tests.lab.daemon import docker_cli

        argv = [docker_cli(), "-H", daemon.host, "save", "second", "busybox"]
        subprocess.run(argv, stdout=file, check=True, env=daemon.environment, timeout=60)
    (entry,) = json.loads(files_of(out.read_bytes())["manifest.json"])
    assert sorted(entry["RepoTags"]) == ["busybox:latest", "second:1", "second:2"]
    daemon.out("save", "-o", str(out), image_id[7:19])
    (entry,) = json.loads(files_of(out.read_bytes())["manifest.json"])
    assert entry["RepoTags"] is None
    assert daemon.out("load", "-i", str(out)) == f"Loaded image ID: {image_id}"
    daemon.out("rmi", "second:1", "second:2")


def test_an_import_takes_changes_a_message_and_a_platform(daemon: Daemon, tmp_path: Path) -> None:
    rootfs = str(images.busybox_rootfs())
    changes = ("-c", "CMD echo imported", "-c", "ENV A=b", "-c", "EXPOSE 80", "-m", "from a tar")
    image_id = daemon.out("import", *changes, rootfs, "imported:1")
    shown = daemon.inspect("imported:1")
    assert (shown["Id"], shown["Comment"], shown["Config"]["Env"]) == (image_id, "from a tar", ["A=b"])
    assert daemon.out("run", "--rm", "imported:1") == "imported"
    layer = hashlib.sha256(Path(rootfs).read_bytes()).hexdigest()
    assert shown["RootFS"]["Layers"] == [f"sha256:{layer}"]
    assert daemon.out("history", "--format", "{{.Comment}}", "imported:1") == "from a tar"
    other = daemon.corten("import", "--platform", OTHER, rootfs, "imported:2").stdout.strip()
    assert daemon.out("inspect", "-f", "{{.Id}} {{.Architecture}}", "imported:2") == f"{other} s390x"
    packed = tmp_path / "rootfs.tar.zst"
    import zstandard

    packed.write_bytes(zstandard.ZstdCompressor(1).compress(Path(rootfs).read_bytes()))
    daemon.out("import", str(packed), "imported:3")
    assert daemon.inspect("imported:3")["RootFS"] == shown["RootFS"]
    daemon.out("rmi", "imported:1", "imported:2", "imported:3")


def test_an_export_is_imported_again(daemon: Daemon, tmp_path: Path) -> None:
    container = daemon.out("run", "-d", "--init", "busybox", "sh", "-c", "echo kept >/kept; sleep 1000")
    while "kept" not in daemon.out("diff", container):
        pass
    out = tmp_path / "export.tar"
    daemon.out("export", "-o", str(out), container)
    with tarfile.open(out) as tar:
        assert "kept" in tar.getnames()
    daemon.out("import", str(out), "exported:1")
    assert daemon.out("run", "--rm", "exported:1", "cat", "/kept") == "kept"
    daemon.out("rm", "-f", container)
    daemon.out("rmi", "exported:1")


def test_names_go_by_dockers_rules(daemon: Daemon) -> None:
    daemon.out("import", str(images.busybox_rootfs()), "rules:1")
    image_id = daemon.inspect("rules:1")["Id"]
    short = image_id[7:19]
    for name in ("rules:2", "other/rules:1"):
        daemon.out("tag", "rules:1", name)
    assert daemon.out("rmi", "rules:2") == "Untagged: rules:2"
    refused = daemon.docker("rmi", short, check=False)
    assert (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        in refused.stderr
    )
    container = daemon.out("run", "-d", "--init", "rules:1", "sleep", "1000")
    for force in ((), ("-f",)):
        refused = daemon.docker("rmi", *force, short, check=False)
        why = f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container"
        assert f"{why} {container[:12]}" in refused.stderr
    daemon.out("rmi", "other/rules:1")
    refused = daemon.docker("rmi", "rules:1", check=False)
    assert (
        f'conflict: unable to remove repository reference "rules:1" (must force) - container {container[:12]} is using '
        f"its referenced image {short}" in refused.stderr
    )
    assert daemon.out("rmi", "-f", "rules:1") == "Untagged: rules:1"
    assert f"<none>:<none> {short}" in daemon.out("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    daemon.out("stop", "-t", "0", container)
    refused = daemon.docker("rmi", short, check=False)
    why = f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container"
    assert f"{why} {container[:12]}" in refused.stderr
    assert f"Deleted: {image_id}" in daemon.out("rmi", "-f", short)
    daemon.out("rm", container)
    gone = daemon.docker("rmi", "rules:1", check=False)
    assert (gone.returncode, gone.stderr) == (1, "Error response from daemon: No such image: rules:1\n")
    assert daemon.docker("rmi", "-f", "rules:1", check=False).returncode == 0


def test_lists_are_filtered(daemon: Daemon) -> None:
    rootfs = str(images.busybox_rootfs())
    daemon.out("import", "-c", "LABEL team=blue", rootfs, "filtered/a:1")
    daemon.out("import", "-c", "LABEL team=red", rootfs, "filtered/b:1")
    daemon.out("import", rootfs)
    assert rows(daemon, "--filter", "label=team=blue") == ["filtered/a:1"]
    assert rows(daemon, "--filter", "label=team", "--filter", "label!=team=red") == ["filtered/a:1"]
    assert sorted(rows(daemon, "--filter", "reference=filtered/*")) == ["filtered/a:1", "filtered/b:1"]
    assert rows(daemon, "--filter", "before=filtered/a:1", "busybox") == ["busybox:latest"]
    assert rows(daemon, "--filter", "since=filtered/a:1", "--filter", "dangling=false") == ["filtered/b:1"]
    assert rows(daemon, "--filter", "dangling=true") == ["<none>:<none>"]
    assert rows(daemon, "--filter", "until=24h", "busybox") == ["busybox:latest"]
    assert rows(daemon, "--filter", "until=24h", "filtered/*") == []
    for arguments, text in (
        (("--filter", "bogus=x"), "invalid filter 'bogus'"),
        (("--filter", "dangling=maybe"), "invalid filter 'dangling=[maybe]'"),
        (("--filter", "until=maybe"), 'failed to parse value as time or duration: "maybe"'),
        (("--filter", "before=nope"), "No such image: nope:latest"),
    ):
        for client in (daemon.docker, daemon.corten):
            assert text in client("images", *arguments, check=False).stderr
    told = daemon.out("image", "prune", "-f", "--filter", "until=24h")
    assert told == "Total reclaimed space: 0B"
    assert "deleted: sha256:" in daemon.out("image", "prune", "-f")
    told = daemon.out("image", "prune", "-af", "--filter", "label=team=blue")
    assert "untagged: filtered/a:1" in told
    assert {"filtered/b:1", "busybox:latest"} <= set(rows(daemon))
    assert "untagged: filtered/b:1" in daemon.out(
        "image", "prune", "-af", "--filter", "until=0s", "--filter", "label!=x"
    )
    daemon.docker("load", "-i", str(images.busybox()))
