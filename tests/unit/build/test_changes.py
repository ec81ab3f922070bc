"""`docker commit --change` and `docker import --change`."""

import pytest
from tests.unit.build.planned import as_document

from corten.build.dockerfile.changes import apply_changes
from corten.build.dockerfile.error import DockerfileError
from corten.spec.oci_image import ImageConfig


def test_each_instruction_goes_on_from_the_one_before():
    changes = [
        "ENV B=$A-b",
        "USER $B\nWORKDIR w",
        "",
        'LABEL "c d"=e f=g',
        "ENV A=2",
        "HEALTHCHECK --interval=5s CMD x",
    ]
    config = apply_changes(ImageConfig(env=["A=1"], working_dir="/x"), changes)
    assert as_document(config) == {
        "User": "1-b",
        "Env": ["A=2", "B=1-b"],
        "WorkingDir": "/x/w",
        "Labels": {"c d": "e", "f": "g"},
        "Healthcheck": {"Test": ["CMD-SHELL", "x"], "Interval": 5 * 10**9},
    }


def test_commands_without_words_are_taken_away():
    config = apply_changes(ImageConfig(cmd=["a"], entrypoint=["b"]), ["ENTRYPOINT", "CMD"])
    assert (config.cmd, config.entrypoint, config.args_escaped) == ([], [], False)


def test_nothing_changes_nothing():
    config = ImageConfig(on_build=["RUN x"], user="u")
    assert apply_changes(config, []) == config
    assert apply_changes(config, ["ONBUILD RUN y"]).on_build == ["RUN x", "RUN y"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("foo bar", "foo is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("EXPOSE x", "Invalid containerPort: x"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("USER ${A:?who}", 'failed to process "${A:?who}": A: who'),
    ],
)
def test_the_words_are_dockers_and_name_no_line(change, text):
    with pytest.raises(DockerfileError) as caught:
        apply_changes(ImageConfig(), [change])
    assert caught.value.message == text
