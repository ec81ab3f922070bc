"""Any list of device rules: the kernel (v1's controller, v2's program) opens exactly what the folded list permits."""

from __future__ import annotations

import os
import random

import pytest

from corten.linux.cgroup import Cgroup
from corten.linux.cgroup.devices import READ, WRITE, fold

pytestmark = pytest.mark.root

NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "ptmx": (5, 2)}
MODES = {os.O_RDONLY: READ, os.O_WRONLY: WRITE, os.O_RDWR: READ | WRITE}


def random_rules(source: random.Random) -> list[dict[str, object]]:
    rules: list[dict[str, object]] = [{"allow": source.random() < 0.3}] if source.random() < 0.7 else []
    for _ in range(source.randrange(6)):
        rule: dict[str, object] = {"allow": source.random() < 0.6, "type": source.choice("cccba")}
        if source.random() < 0.8:
            rule["major"] = source.choice([1, 5, 8])
        if source.random() < 0.6:
            rule["minor"] = source.choice([2, 3, 5, 7, 8])
        rule["access"] = source.choice(["r", "w", "rw", "rwm", "m", "rm"])
        rules.append(rule)
    return rules


def opens(name: str, mode: int) -> bool:
    try:
        os.close(os.open(f"/dev/{name}", mode | os.O_NOCTTY))
    except PermissionError:
        return False
    return True


def test_the_kernel_permits_what_the_folded_list_permits(cgroup: Cgroup, spawn):
    source = random.Random(20)
    for _ in range(25):
        rules = random_rules(source)
        cgroup.apply({"devices": rules})
        devices = fold(rules)
        questions = [(name, mode) for name in NODES for mode in MODES]
        wanted = [devices.permits("c", *NODES[name], MODES[mode]) for name, mode in questions]
        answers = os.pipe()
        task = spawn(lambda: os.write(answers[1], bytes(opens(*one) for one in questions)) * 0)  # noqa: B023
        cgroup.add(task.pid)
        assert task.run() == 0
        given = [bool(answer) for answer in os.read(answers[0], 100)]
        os.close(answers[0])
        os.close(answers[1])
        assert dict(zip(questions, given, strict=True)) == dict(zip(questions, wanted, strict=True)), rules
