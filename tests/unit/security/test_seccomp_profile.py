"""The default profile allows what Docker's does and no more; a user's profile is resolved as Docker resolves it."""

from __future__ import annotations

import errno
import json

import pytest
from tests.unit.linux.test_seccomp_filter import AARCH64, I386, X86_64, run_filter

from corten.errors import InvalidArgument
from corten.linux.seccomp import RET_ALLOW, RET_ERRNO, compile_filter
from corten.linux.syscall_table import numbers
from corten.security.capabilities import DEFAULT
from corten.security.defaults import MASKED_PATHS, READONLY_PATHS, masked_paths
from corten.security.seccomp import default_profile, load_profile

REFUSED = RET_ERRNO | errno.EPERM
TABLES = {X86_64: "x86_64", I386: "i386", AARCH64: "aarch64"}


def answers(profile: dict, *calls: str, arch: int = X86_64, args: tuple[int, ...] = ()) -> set[int]:
    machine = "aarch64" if arch == AARCH64 else "x86_64"
    filter_ = compile_filter(profile, machine=machine)
    return {run_filter(filter_, arch, numbers(TABLES[arch])[call], args) for call in calls}


@pytest.fixture(scope="module")
def default() -> dict:
    return default_profile(DEFAULT, "x86_64", "6.1.0")


ESCAPES = [
    "mount",
    "umount2",
    "pivot_root",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "open_by_handle_at",
    "init_module",
    "delete_module",
    "kexec_load",
    "reboot",
    "swapon",
    "swapoff",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "acct",
    "settimeofday",
    "clock_settime",
    "iopl",
    "ioperm",
    "kcmp",
    "move_pages",
    "mbind",
    "fsopen",
    "fsmount",
    "move_mount",
    "open_tree",
    "syslog",
    "quotactl",
    "sethostname",
    "setdomainname",
    "vhangup",
    "lookup_dcookie",
    "process_madvise",
    "pidfd_getfd",
    "fanotify_init",
]


def test_what_leads_out_of_a_container_is_refused(default: dict):
    assert answers(default, *ESCAPES) == {REFUSED}


def test_what_programs_need_is_allowed(default: dict):
    needed = [
        "read",
        "write",
        "openat",
        "openat2",
        "execve",
        "fork",
        "vfork",
        "mmap",
        "futex",
        "epoll_pwait2",
        "ptrace",
        "process_vm_readv",
        "memfd_create",
        "landlock_create_ruleset",
        "statx",
        "getrandom",
        "rseq",
        "chroot",
        "mseal",
        "arch_prctl",
        "modify_ldt",
        "mknod",
        "capset",
        "seccomp",
        "prctl",
    ]
    assert answers(default, *needed) == {RET_ALLOW}


def test_clone_may_not_make_namespaces_and_clone3_does_not_exist(default: dict):
    assert answers(default, "clone", args=(0x01200011,)) == {RET_ALLOW}
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert answers(default, "clone", args=(flag | 17,)) == {REFUSED}
    assert answers(default, "clone3") == {RET_ERRNO | errno.ENOSYS}


@pytest.mark.parametrize("family", [38, 40])
def test_alg_and_vsock_sockets_are_refused_also_behind_high_bits(default: dict, family: int):
    for given in (family, family | 1 << 32, family | 0xFFFFFFFF_00000000):
        assert answers(default, "socket", args=(given,)) == {REFUSED}
    assert answers(default, "socket", args=(family,), arch=I386) == {REFUSED}


def test_other_sockets_are_allowed(default: dict):
    for family in (1, 2, 10, 16, 17, 37, 39, 41, 44):
        assert answers(default, "socket", args=(family,)) == {RET_ALLOW}
    assert answers(default, "socketcall", arch=I386) == {REFUSED}


def test_personality_takes_the_known_values_only(default: dict):
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert answers(default, "personality", args=(value,)) == {RET_ALLOW}
    assert answers(default, "personality", args=(0x0040000,)) == {REFUSED}


def test_capabilities_open_their_calls():
    profile = default_profile([*DEFAULT, "CAP_SYS_ADMIN", "CAP_SYS_TIME"], "x86_64", "6.1.0")
    assert answers(profile, "mount", "setns", "unshare", "clone3", "clock_settime", args=(0x7E020000,)) == {RET_ALLOW}
    assert answers(profile, "clone", args=(0x7E020000,)) == {RET_ALLOW}
    assert answers(profile, "reboot") == {REFUSED}
    without = default_profile([], "x86_64", "6.1.0")
    assert answers(without, "chroot") == {REFUSED}


def test_old_kernels_and_other_machines_get_their_own_rules(default: dict):
    assert answers(default_profile([], "x86_64", "4.7.9"), "ptrace") == {REFUSED}
    arm = default_profile(DEFAULT, "aarch64", "6.1.0")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert answers(arm, "openat", "sync_file_range", arch=AARCH64) == {RET_ALLOW}
    assert answers(arm, "mount", arch=AARCH64) == {REFUSED}
    assert default["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def test_pushing_terminal_input_can_be_refused():
    profile = default_profile(DEFAULT, "x86_64", "6.1.0", block_tiocsti=True)
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32):
        assert answers(profile, "ioctl", args=(0, request)) == {REFUSED}
    assert answers(profile, "ioctl", args=(0, 0x5413)) == {RET_ALLOW}


def test_every_allowed_name_is_a_system_call_somewhere(default: dict):
    known = set().union(*(numbers(arch) for arch in ("x86_64", "i386", "aarch64", "arm"))) | {"riscv_hwprobe"}
    named = {name for rule in default["syscalls"] for name in rule["names"]}
    assert named <= known


def test_a_user_profile_is_resolved_by_capabilities_architecture_and_kernel():
    document = {
        "defaultAction": "SCMP_ACT_KILL",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"name": "read", "action": "SCMP_ACT_ALLOW"},
            {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}},
            {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["d"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
            {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
            {"names": ["f"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": None, "comment": "x", "includes": {}},
        ],
    }
    assert load_profile(json.dumps(document), ["CAP_KILL"], "x86_64", "6.1.0-13-amd64") == {
        "defaultAction": "SCMP_ACT_KILL",
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["f"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
        ],
    }


def test_an_empty_profile_means_unconfined():
    assert load_profile("{}", []) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Decoding seccomp profile failed"),
        ("[" * 100_000, "Decoding seccomp profile failed"),
        ("[]", "Decoding seccomp profile failed: profile must be"),
        ('{"defaultAction": 1}', "defaultAction must be"),
        ('{"syscalls": [{"names": "read"}]}', "names must be"),
        ('{"syscalls": [{"includes": []}, {"includes": [1]}]}', "includes must be"),
        ('{"architectures": ["SCMP_ARCH_X86"], "archMap": [{}], "defaultAction": "x"}', "both 'architectures' and"),
        ('{"defaultAction": "x", "syscalls": [{"name": "a", "names": ["b"]}]}', "both 'name' and 'names'"),
        ('{"defaultAction": "x", "syscalls": [{"includes": {"minKernel": "six"}}]}', "invalid kernel version"),
    ],
)
def test_a_wrong_profile_is_refused(text: str, message: str):
    with pytest.raises(InvalidArgument) as caught:
        load_profile(text, [])
    assert message in caught.value.message


def test_paths_are_absolute_and_apart():
    assert set(masked_paths()) >= set(MASKED_PATHS)
    assert not set(MASKED_PATHS) & set(READONLY_PATHS)
    assert all(path.startswith(("/proc/", "/sys/")) for path in (*masked_paths(), *READONLY_PATHS))
