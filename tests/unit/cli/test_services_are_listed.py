"""`service ls` and `service inspect`: what they ask, print and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fake_engine import Answer, FakeEngine
from tests.unit.cli.recording import CORTEN, client


def member(name: str, state: str = "serving") -> dict[str, Any]:
    return {"Container": name * 64, "Name": name, "Addresses": ["10.0.0.2"], "Weight": 1, "State": state, "Health": "", "Connections": 4}  # fmt: skip


def port(address: str) -> dict[str, Any]:
    return {"HostIP": address, "PublishedPort": 8080, "TargetPort": 80, "Protocol": "tcp"}


WEB = {
    "ID": "1" * 64, "Name": "web", "Network": "app", "NetworkID": "2" * 64, "Addresses": ["10.0.0.9", "fd00::9"],
    "Balance": "round-robin", "Holders": 4, "Connections": 12, "Ports": [port("0.0.0.0"), port("::")],
    "Members": [member("a"), member("b", "draining"), member("c", "unhealthy")],
}  # fmt: skip
IDLE = {**WEB, "ID": "3" * 64, "Name": "idle", "Addresses": [], "Members": [], "Ports": [], "Connections": 0}


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    answers: dict[str, Answer] = {
        "GET /corten/services": (200, [WEB, IDLE]),
        "GET /corten/services/app/web": (200, WEB),
        "GET /corten/services/none": (404, {"message": "no such service: none"}),
    }
    made = FakeEngine(tmp_path / "s", answers)
    yield made
    made.close()


def said(engine: FakeEngine, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = client(CORTEN, engine, list(arguments), folder)
    return done.returncode, done.stdout, done.stderr


def test_services_are_listed_with_who_serves(engine: FakeEngine, tmp_path: Path) -> None:
    status, out, _ = said(engine, tmp_path, "service", "ls", "-f", "network=app")
    assert status == 0
    assert [line.rstrip() for line in out.splitlines()] == [
        "ID             NAME      NETWORK   ADDRESS             BALANCE       MEMBERS                         CONNECTIONS   PORTS",
        "111111111111   web       app       10.0.0.9, fd00::9   round-robin   1/3 (1 draining, 1 unhealthy)   12            0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        "333333333333   idle      app       -                   round-robin   0/0                             0",
    ]
    assert said(engine, tmp_path, "service", "ls", "-q")[1] == "111111111111\n333333333333\n"
    assert said(engine, tmp_path, "service", "ls", "--format", "{{.Name}}={{.Members}}")[1].startswith("web=1/3")


def test_a_service_is_shown_in_full(engine: FakeEngine, tmp_path: Path) -> None:
    assert json.loads(said(engine, tmp_path, "service", "inspect", "app/web")[1]) == [WEB]
    form = "{{range .Members}}{{.Name}}:{{.State}} {{end}}"
    assert said(engine, tmp_path, "service", "inspect", "-f", form, "app/web")[1].strip() == (
        "a:serving b:draining c:unhealthy"
    )
    status, out, err = said(engine, tmp_path, "service", "inspect", "none")
    assert (status, out) == (1, "[]\n")
    assert "no such service: none" in err
