import pytest
from tests.unit.build.planned import Images, plan

from corten.build.dockerfile.checks import RULES, check
from corten.build.dockerfile.checks.options import parse_check_options
from corten.build.dockerfile.checks.rule import Subject
from corten.build.dockerfile.dockerignore import Matcher
from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.spec.docker.lint import LintWarning
from corten.spec.oci_image import ImageConfig

EXPERIMENTAL = "# check=experimental=all\n"

FOUND = [
    ("FROM base AS Up", "StageNameCasing: Stage name 'Up' should be lowercase (line 1)"),
    ("FROM base as a", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"),
    ("FROM base\nENV A=1 \\\n\n B=2", "NoEmptyContinuation: Empty continuation line (line 4)"),
    (
        "FROM base\nuser x\nRUN a",
        "ConsistentInstructionCasing: Command 'user' should match the case of the command majority (uppercase) (line 2)",
    ),
    (
        "from base\nuser x\nRun a",
        "ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (lowercase) (line 3)",
    ),
    (
        "FROM base AS a\nFROM base AS a",
        'DuplicateStageName: Duplicate stage name "a", stage names should be unique (line 2)',
    ),
    (
        "FROM base AS context",
        'ReservedStageName: Stage name should not use the same name as reserved stage "context" (line 1)',
    ),
    (
        "FROM base\nCMD a",
        (
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals "
            "(line 2)"
        ),
    ),
    (
        "FROM base\nMAINTAINER a",
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
    ),
    (
        "ARG VERSION=1\nFROM base${VERSON}",
        "UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?) (line 2)",
    ),
    ("FROM base$OTHER", "UndefinedArgInFrom: FROM argument 'OTHER' is not declared (line 1)"),
    (
        "FROM base\nWORKDIR a\nWORKDIR /b\nWORKDIR c",
        'WorkdirRelativePath: Relative workdir "a" can have unexpected results if the base image changes (line 2)',
    ),
    (
        "FROM base\nENV FOO=1\nCOPY $FO a /",
        "UndefinedVar: Usage of undefined variable '$FO' (did you mean $FOO?) (line 3)",
    ),
    ("FROM base\nUSER $COMPLETELY", "UndefinedVar: Usage of undefined variable '$COMPLETELY' (line 2)"),
    (
        'FROM base\nCMD ["a"]\nRUN x\nCMD ["b"]',
        (
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the "
            "last one will be used (line 2)"
        ),
    ),
    (
        "FROM base\nENV a b",
        'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 2)',
    ),
    (
        "FROM --platform=${TARGETPLATFORM} base",
        (
            "RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the "
            "default behavior (line 1)"
        ),
    ),
    (
        "FROM base\nENV AWS_SECRET_ACCESS=1 A=2",
        'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "AWS_SECRET_ACCESS") (line 2)',
    ),
    (
        "FROM base\nARG token",
        'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "token") (line 2)',
    ),
    (
        "ARG T\nFROM base:$T",
        "InvalidDefaultArgInFrom: Default value for ARG base:$T results in empty or invalid base image name (line 2)",
    ),
    (
        "FROM --platform=linux/amd64 base AS x",
        'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" (line 1)',
    ),
    (
        "FROM base\nEXPOSE 80/TcP",
        "ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase (line 2)",
    ),
    (
        "FROM base\nEXPOSE 127.0.0.1:80:80",
        (
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found "
            "'127.0.0.1:80:80' (line 2)"
        ),
    ),
    (
        EXPERIMENTAL + "FROM base\nCOPY --link ignored.md /",
        'CopyIgnoredFile: Attempting to Copy file "ignored.md" that is excluded by .dockerignore (line 3)',
    ),
    (
        EXPERIMENTAL + "# base what it is\nFROM base AS other\n",
        "InvalidDefinitionDescription: Comment for FROM should follow the format: `# other <description>` (line 3)",
    ),
    (
        "FROM base AS x",
        (
            'InvalidBaseImagePlatform: Base image base was pulled with platform "linux/s390x", expected "linux/arm64" for '
            "current build (line 1)"
        ),
    ),
]


IGNORED = Matcher(["*.md"])
IMAGES = {name: ImageConfig() for name in ("base", "base1", "base:1")}


def shown(finding: LintWarning) -> str:
    return f"{finding.rule_name}: {finding.detail} (line {finding.location.ranges[0].start.line})"


@pytest.mark.parametrize(("text", "expected"), FOUND, ids=[expected.partition(":")[0] for _text, expected in FOUND])
def test_a_rule_finds_what_it_is_for_and_where(text, expected):
    is_foreign = expected.startswith("InvalidBaseImagePlatform")
    result = plan(
        text,
        Images(IMAGES, "s390x" if is_foreign else "amd64"),
        ignored=IGNORED,
        platform="linux/arm64" if is_foreign else "",
        build_args={"T": "1"},
    )
    assert [shown(finding) for finding in result.findings] == [expected]


def test_every_rule_has_a_case_and_a_page():
    assert {rule.name for rule in RULES} == {expected.partition(":")[0] for _text, expected in FOUND}
    urls = {rule.name: rule.url for rule in RULES}
    assert urls["JSONArgsRecommended"] == "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    assert urls["SecretsUsedInArgOrEnv"].endswith("/secrets-used-in-arg-or-env/")


CLEAN = """\
ARG VERSION=1
FROM --platform=$BUILDPLATFORM base AS build-arm64
ARG VERSION
ARG HTTP_PROXY PUBLIC_KEY
ENV A=$VERSION B=${UNKNOWN:-} P=$HTTP_PROXY
SHELL ["/bin/bash", "-c"]
WORKDIR /a
CMD a
FROM build-arm64 AS linux
# a comment
WORKDIR b
COPY a.md /
EXPOSE 80/tcp $A
FROM --platform=linux/amd64 base AS linux-build
"""


def test_nothing_is_found_where_nothing_is_wrong():
    result = plan(CLEAN.replace("${UNKNOWN:-}", "x"), ignored=IGNORED)
    assert result.findings == ()


def test_unused_build_arguments_are_told():
    result = plan("ARG G\nFROM base\nARG A", build_args={"A": "1", "G": "2", "HTTP_PROXY": "x", "Y": "1", "X": "1"})
    assert result.warnings == ("One or more build-args [X Y] were not consumed",)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("skip=all", 0),
        ("skip=StageNameCasing", 1),
        ("skip=stagenamecasing, JSONArgsRecommended", 0),
        ("", 2),
        ("experimental=CopyIgnoredFile", 2),
        ("error=false;skip=StageNameCasing", 1),
    ],
)
def test_rules_can_be_left_out(options, count):
    text = "FROM base AS Up\nCMD x"
    assert len(plan(f"# check={options}\n{text}").findings) == count
    assert len(plan(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": options}).findings) == count


def test_findings_can_be_errors():
    with pytest.raises(DockerfileError) as caught:
        plan("# check=error=true\nFROM base AS Up\nCMD x")
    assert caught.value.reason == "lint violation found for rules: JSONArgsRecommended, StageNameCasing"
    assert caught.value.lines == (2, 2)


def test_who_asks_for_the_checks_alone_gets_findings_that_are_errors():
    assert len(plan("# check=error=true\nFROM base AS Up\nCMD x", is_check=True).findings) == 2


@pytest.mark.parametrize("text", ["nope", "what=1", "error=maybe"])
def test_options_that_are_none_are_refused(text):
    with pytest.raises(DockerfileError, match="check option"):
        parse_check_options(text)


def test_a_file_can_be_checked_without_a_build():
    subject = Subject(dockerfile=parse_dockerfile(b"FROM nowhere AS Up\nCOPY $X /"), request=BuildRequest())
    assert [finding.rule.name for finding in check(subject)] == ["StageNameCasing"]
