"""Give up privileges: LSM label, bounding set, ids, capability sets, no_new_privs. capabilities(7), credentials(7).

Runs in init and in processes that join, late, since most other steps need what is dropped here. The seccomp filter
comes last of all (steps/command.py).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

from corten.linux import credentials
from corten.linux.errors import fail
from corten.linux.process import PR_SET_KEEPCAPS, personality, prctl, set_no_new_privs
from corten.runtime.steps.base import Context, Step
from corten.runtime.steps.identity import write_proc

CAP_SYS_ADMIN = 1 << 21
_PERSONALITIES = {"LINUX": 0x0, "LINUX32": 0x0008}
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


class SetNoNewPrivileges(Step):
    """no_new_privs: no execve gains privileges."""

    __slots__ = ()
    stage = "no_new_privs"
    prefix = ""

    def describe(self) -> str:
        return "set no_new_privs"

    def run(self, context: Context) -> None:
        set_no_new_privs()


class SetPersonality(Step):
    """Set the execution domain: OCI `linux.personality`."""

    __slots__ = ("_persona",)
    stage = "personality"

    def __init__(self, domain: str) -> None:
        if domain not in _PERSONALITIES:
            raise ValueError(f"unknown personality domain {domain}")
        self._persona = _PERSONALITIES[domain]

    def describe(self) -> str:
        return f"set personality {self._persona:#x}"

    def run(self, context: Context) -> None:
        personality(self._persona)


class SetSecurityLabel(Step):
    """Ask AppArmor or SELinux for a label at the coming execve."""

    __slots__ = ("_apparmor", "_selinux")
    stage = "label"
    prefix = ""

    def __init__(self, apparmor: str, selinux: str) -> None:
        self._apparmor = apparmor
        self._selinux = selinux

    def describe(self) -> str:
        return f"set label {self._apparmor or self._selinux}"

    def run(self, context: Context) -> None:
        if self._apparmor:
            value = f"exec {self._apparmor}"
            try:
                write_proc(context, "self/attr/apparmor/exec", value)
            except FileNotFoundError:
                write_proc(context, "self/attr/exec", value)
        if self._selinux:
            write_proc(context, "self/attr/exec", self._selinux)


class DropPrivileges(Step):
    """Bounding set, groups, ids and capability sets, in the order that the kernel demands.

    Capabilities that this process does not have itself are left out, as runc does. Where a seccomp filter is loaded
    without no_new_privs, CAP_SYS_ADMIN stays permitted (not effective) until then.
    """

    __slots__ = ("_keep_admin", "_sets", "_user")
    stage = "user"
    prefix = ""

    def __init__(self, user: Mapping[str, Any], sets: Mapping[str, int], *, keep_admin: bool) -> None:
        self._user = user
        self._sets = sets
        self._keep_admin = keep_admin

    def describe(self) -> str:
        return f"become user {self._user.get('uid') or 0}:{self._user.get('gid') or 0}"

    def doing(self) -> str:
        return "setup user"

    def run(self, context: Context) -> None:
        uid, gid = self._user.get("uid") or 0, self._user.get("gid") or 0
        _effective, permitted, _inheritable = credentials.capget()
        credentials.drop_bounding(self._sets["bounding"])
        prctl(PR_SET_KEEPCAPS, 1)
        self._set_groups(self._user.get("additionalGids") or ())
        credentials.setresgid(gid)
        credentials.setresuid(uid)
        prctl(PR_SET_KEEPCAPS, 0)
        wanted = {name: self._sets[name] & permitted for name in CAPABILITY_SETS}
        wanted["effective"] &= wanted["permitted"]
        admin = CAP_SYS_ADMIN & permitted if self._keep_admin else 0
        final = wanted["effective"], wanted["permitted"], wanted["inheritable"]
        credentials.capset(effective=final[0], permitted=final[1] | admin, inheritable=final[2])
        credentials.set_ambient(wanted["ambient"] & wanted["permitted"] & wanted["inheritable"])
        context.final_capset = final if admin & ~final[0] else None

    def _set_groups(self, groups: Sequence[int]) -> None:
        try:
            credentials.setgroups(groups)
        except OSError as error:
            # A user namespace with setgroups "deny" keeps the groups it has (user_namespaces(7)).
            if groups or error.errno != errno.EPERM:
                raise


class ChangeDirectory(Step):
    """Go to process.cwd and make sure that it lies inside the container (CVE-2024-21626).

    `early` runs before the user changes, as runc does, so that a directory only root may enter works; what fails there
    for lack of rights is tried again by the late one, which also checks.
    """

    __slots__ = ("_create", "_cwd", "_early")
    stage = "cwd"
    prefix = ""

    def __init__(self, cwd: str, *, early: bool, create: bool = False) -> None:
        self._cwd = cwd or "/"
        self._early = early
        self._create = create

    def describe(self) -> str:
        return f"change directory to {self._cwd}" + ("" if self._early else ", checked")

    def doing(self) -> str:
        return f'chdir to cwd ("{self._cwd}") set in config.json failed'

    def _enter(self) -> None:
        try:
            os.chdir(self._cwd)
        except FileNotFoundError:
            if not self._create:
                raise
            os.makedirs(self._cwd, 0o755, exist_ok=True)
            os.chdir(self._cwd)

    def run(self, context: Context) -> None:
        if self._early:
            context.chdir_pending = True
            try:
                self._enter()
                context.chdir_pending = False
            except PermissionError:
                pass
            return
        if context.chdir_pending:
            os.chdir(self._cwd)
        try:
            inside = os.getcwd().startswith("/")
        except FileNotFoundError:
            inside = False
        if not inside:
            fail(
                errno.ENOENT,
                "getcwd",
                hint="current working directory is outside of container mount namespace root "
                "-- possible container breakout detected",
            )
