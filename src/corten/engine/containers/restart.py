"""Restart policies: whether a container runs again after its end, and after how long. Pure.

The delay doubles from 100 ms to a minute and begins anew after a run of at least 10 s, as dockerd's.
"""

from __future__ import annotations

from corten.errors import InvalidArgument
from corten.spec.docker.hostconfig import RestartPolicy

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 60.0
RESET_AFTER_S = 10.0
_NAMES = ("", "no", "always", "on-failure", "unless-stopped")


def check_policy(policy: RestartPolicy, *, auto_remove: bool) -> None:
    """Raises InvalidArgument with Docker's texts."""
    if policy.name not in _NAMES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name[:32]}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.name != "on-failure" and policy.maximum_retry_count != 0:
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
            + (" and cannot be negative" if policy.maximum_retry_count < 0 else "")
        )
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def wants_restart(policy: RestartPolicy, *, exit_code: int, restart_count: int, manually_stopped: bool) -> bool:
    """Whether the policy asks for another run."""
    if policy.name == "always":
        return True
    if policy.name == "unless-stopped":
        return not manually_stopped
    if policy.name == "on-failure":
        limit = policy.maximum_retry_count
        return exit_code != 0 and (limit == 0 or restart_count < limit)
    return False


def next_delay(previous_s: float, *, ran_s: float) -> float:
    """The pause before the next run; `previous_s` is 0 at first."""
    if previous_s == 0 or ran_s >= RESET_AFTER_S:
        return FIRST_DELAY_S
    return min(previous_s * 2, MAX_DELAY_S)
