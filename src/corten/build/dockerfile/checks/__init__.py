"""Build checks, with Docker's rule names and texts: what will build, but hardly as it was meant. Pure; daemon.

Adding one is a function and a record in the file of its kind. Source: "Build checks" of the Docker documentation.
"""

from __future__ import annotations

from corten.build.dockerfile.checks import casing, staging, usage
from corten.build.dockerfile.checks.options import CheckOptions, parse_check_options
from corten.build.dockerfile.checks.rule import Finding, Rule, Subject
from corten.build.dockerfile.error import DockerfileError

RULES: tuple[Rule, ...] = (*casing.RULES, *staging.RULES, *usage.RULES)
_OVERRIDE = "BUILDKIT_DOCKERFILE_CHECK"


def options_of(subject: Subject) -> CheckOptions:
    """What the build argument says, else the file's directive. Raises DockerfileError."""
    given = subject.request.given_args.get(_OVERRIDE)
    return parse_check_options(given if given is not None else subject.dockerfile.source.directives.check)


def check(subject: Subject) -> tuple[Finding, ...]:
    """All that the rules find that count, in the order of the lines. Raises DockerfileError for wrong options."""
    options = options_of(subject)
    found = [
        Finding(rule=rule, message=rule.text.format(*words), lines=lines)
        for rule in RULES
        if options.wants(rule.name, is_experimental=rule.is_experimental)
        for lines, words in rule.find(subject)
    ]
    return tuple(sorted(found, key=lambda finding: (finding.lines, finding.rule.name)))


def refuse(subject: Subject, findings: tuple[Finding, ...]) -> None:
    """Raise DockerfileError when something was found and the file says that this is an error.

    Who asks for the checks alone is told all the same what was found.
    """
    if findings and options_of(subject).is_error and not subject.request.is_check:
        names = sorted({finding.rule.name for finding in findings})
        raise DockerfileError(f"lint violation found for rules: {', '.join(names)}", lines=findings[0].lines)
