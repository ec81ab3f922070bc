"""Few arenas, and memory that was freed goes back to the kernel: mallopt(3), malloc_trim(3) of glibc. Daemon only."""

from __future__ import annotations

import ctypes

_LIBC = ctypes.CDLL(None)


_M_ARENA_MAX = -8


def share_arenas() -> None:
    """Let all threads allocate from two arenas: they take turns anyway, and each arena keeps megabytes for itself."""
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Release what the allocator keeps for later; blocking, some milliseconds. Other libcs do so by themselves."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
