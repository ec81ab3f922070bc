"""The image that Corten carries: the same bytes everywhere, valid, and a program that runs."""

import io
import os
import struct
import subprocess
import tarfile

import pytest

from corten.engine.images.elf import ARCHITECTURES, print_and_exit
from corten.engine.images.hello_world import hello_world, stands_in_for
from corten.spec import oci_image, reference
from corten.spec.digest import digest_of
from corten.spec.platform import Platform, host_platform

INDEX_DIGEST = "sha256:76ddf63beec044337f5981690e861c2d14e3caba1f984935ae488000d8d8a13e"


def layer_of(architecture):
    image = hello_world()
    index = oci_image.parse_document(image.index.raw)
    entry = oci_image.choose_manifest(index, Platform("linux", architecture))
    manifest = oci_image.parse_document(image.blobs[entry.digest], entry.media_type)
    config = oci_image.parse_image(image.blobs[manifest.config.digest])
    oci_image.check_layers(manifest, config)
    assert config.architecture == architecture
    assert config.diff_ids == [manifest.layers[0].digest]
    return image.blobs[manifest.layers[0].digest]


def test_the_bytes_are_the_same_on_every_machine():
    image = hello_world()
    assert image.index.digest == INDEX_DIGEST
    assert all(digest_of(raw) == digest for digest, raw in image.blobs.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_has_one_executable_file(architecture):
    with tarfile.open(fileobj=io.BytesIO(layer_of(architecture))) as tar:
        (entry,) = tar.getmembers()
        assert (entry.name, entry.mode, entry.uid, entry.gid) == ("hello", 0o755, 0, 0)
        program = tar.extractfile(entry).read()
    machine = struct.unpack_from("<H", program, 18)[0]
    assert machine == {"amd64": 62, "arm64": 183}[architecture]
    assert b"\nHello from Corten!\n" in program


def test_the_program_writes_its_text_and_ends(tmp_path):
    text = "\n".join(f"line {number} öäü" for number in range(50)).encode()
    path = tmp_path / "program"
    path.write_bytes(print_and_exit(host_platform().architecture, text))
    os.chmod(path, 0o755)
    done = subprocess.run([path], capture_output=True, env={}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, b"")


@pytest.mark.parametrize(
    ("name", "stands_in"),
    [
        ("hello-world", True),
        ("hello-world:latest", True),
        ("docker.io/library/hello-world", True),
        ("hello-world:linux", False),
        ("hello-world@" + INDEX_DIGEST, False),
        ("me/hello-world", False),
        ("localhost/hello-world", False),
    ],
)
def test_it_stands_in_for_one_name_only(name, stands_in):
    assert stands_in_for(reference.parse(name).with_default_tag()) is stands_in
