"""`# corten:egress=...` above a RUN: its own list, which the client's limits and no typing error loses."""

from __future__ import annotations

import pytest
from tests.unit.build.planned import plan

from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.stages import parse_dockerfile
from corten.build.operations import Run


def lists(text: str, egress: tuple[str, ...] | None = None) -> list[tuple[str, ...] | None]:
    found = plan("FROM scratch\n" + text, egress=egress)
    steps = [step.vertex.operation for step in found.target.steps if step.text.startswith("RUN")]
    return [step.egress for step in steps if isinstance(step, Run)]


def test_each_step_has_its_own_list():
    text = (
        "# corten:egress=pypi.org:443, *.example\n# fetches\n\nRUN a\nRUN b\n#  Corten: EGRESS = none\n  RUN c \\\n # d\n && e\n"
        "# corten:egress=a.example\n## corten:egress=b.example\nRUN f\n"
    )
    assert lists(text) == [("pypi.org:443", "*.example"), None, (), ("a.example", "b.example")]


def test_the_clients_list_limits_and_never_widens():
    text = "# corten:egress=pypi.org,evil.example\nRUN a\nRUN b\n# corten:egress=none\nRUN c\n"
    assert lists(text, ("pypi.org:443", "10.0.0.0/8")) == [("pypi.org:443",), ("pypi.org:443", "10.0.0.0/8"), ()]
    assert lists("# corten:egress=*\nRUN a\n", ()) == [()]


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("# corten:egress=a\nENV A=1\n", "stands above ENV, and only RUN has it", 2),
        ("# corten:egress=a\nONBUILD RUN x\n", "stands above ONBUILD", 2),
        ("RUN x\n# corten:egress=a\n", "stands above no instruction", 3),
        ("RUN a && \\\n# corten:egress=none\n b\n", "stands inside of an instruction", 3),
        ("# corten:egres=none\nRUN x\n", "unknown setting corten:egres (did you mean egress?)", 2),
        ("# corten:egress=\nRUN x\n", "corten:egress has no rules", 2),
        ("# corten:egress=a/b\nRUN x\n", "invalid egress rule 'a/b'", 2),
        ("# corten:egress=none,a\nRUN x\n", "stands alone", 2),
        (("# corten:egress=" + ",".join(f"n{n}.example" for n in range(1000)) + "\nRUN x\n") * 5, "more than 4096", 11),
    ],
)
def test_what_could_be_meant_otherwise_is_refused(text: str, reason: str, line: int):
    with pytest.raises(DockerfileError) as caught:
        parse_dockerfile(("FROM scratch\n" + text).encode())
    assert reason in str(caught.value)
    assert caught.value.lines[0] in (line, line + 1)


def test_here_documents_and_other_comments_say_nothing():
    text = "# corten: builds this\n# see corten:egress\nRUN <<E\n# corten:egress=none\nE\n"
    assert lists(text) == [None]
