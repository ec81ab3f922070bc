"""What a sandbox is made of, and whether a prepared one fits a container. Pure; used by the daemon.

A sandbox is a shim with init cloned into fresh namespaces and placed in its cgroup. Net, ipc and uts namespaces may be
left again by init (setns), pid and user namespaces may not: those decide. Devices and pids limits are applied ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

_FRESH = ("mount", "uts", "ipc", "pid", "network", "cgroup", "time")
_AHEAD = ("devices", "pids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The parts of an OCI spec that must be known before init is cloned."""

    namespaces: tuple[tuple[str, str], ...]  # (type, path or "")
    cgroup: str
    uid_mappings: tuple[tuple[int, int, int], ...] = ()
    gid_mappings: tuple[tuple[int, int, int], ...] = ()
    time_offsets: tuple[tuple[str, int, int], ...] = ()
    ahead: dict[str, Any] | None = None  # resources applied before the spec is known

    @classmethod
    def default(cls) -> Sandbox:
        """The sandbox of a container without options."""
        return cls(namespaces=tuple((kind, "") for kind in _FRESH), cgroup="")

    def at(self, cgroup: str) -> Sandbox:
        """The same, in another cgroup."""
        return replace(self, cgroup=cgroup)

    def is_default(self, cgroup: str) -> bool:
        """Whether the next container is likely to want the same."""
        return self.cgroup == cgroup and {kind for kind, path in self.namespaces if not path} == set(_FRESH)

    def fits(self, prepared: Sandbox | None) -> bool:
        """Whether a container that wants `self` can run in `prepared`: init may leave net, ipc, uts, cgroup and time
        namespaces that it does not need, never pid or user."""
        if prepared is None or prepared.cgroup != self.cgroup:
            return False
        if self.uid_mappings or self.gid_mappings or self.time_offsets:
            return False
        wanted = dict(self.namespaces)
        return (
            wanted.get("pid") == ""
            and wanted.get("mount") == ""
            and "user" not in wanted
            and wanted.get("time", "") == ""
        )

    def document(self, sketch: dict[str, Any] | None) -> dict[str, Any]:
        """What the launcher is told; `sketch` is a spec that the container's will resemble."""

        def mappings(rows: tuple[tuple[int, int, int], ...]) -> list[dict[str, int]]:
            return [{"containerID": row[0], "hostID": row[1], "size": row[2]} for row in rows]

        return {
            "namespaces": [{"type": kind, **({"path": path} if path else {})} for kind, path in self.namespaces],
            "uidMappings": mappings(self.uid_mappings),
            "gidMappings": mappings(self.gid_mappings),
            "timeOffsets": {clock: {"secs": secs, "nanosecs": nanos} for clock, secs, nanos in self.time_offsets},
            "resources": self.ahead or {},
            "sketch": sketch,
        }


def sandbox_for(spec: dict[str, Any]) -> Sandbox:
    """What `spec` (OCI config.json) needs before init is cloned."""
    linux = spec.get("linux") or {}
    resources = linux.get("resources") or {}

    def mappings(name: str) -> tuple[tuple[int, int, int], ...]:
        return tuple((int(m["containerID"]), int(m["hostID"]), int(m["size"])) for m in linux.get(name) or ())

    return Sandbox(
        namespaces=tuple((str(n["type"]), str(n.get("path") or "")) for n in linux.get("namespaces") or ()),
        cgroup=str(linux.get("cgroupsPath") or ""),
        uid_mappings=mappings("uidMappings"),
        gid_mappings=mappings("gidMappings"),
        time_offsets=tuple(
            (clock, int(v.get("secs", 0)), int(v.get("nanosecs", 0)))
            for clock, v in (linux.get("timeOffsets") or {}).items()
        ),
        ahead={key: resources[key] for key in _AHEAD if key in resources} or None,
    )
