"""What labels and network options say of services: names, weights, balance, time to drain. Pure; daemon only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from corten.errors import InvalidArgument
from corten.network.balancing import MAX_WEIGHT, Balance
from corten.network.config import Endpoint, NetworkConfig

LABEL = "corten.service"
LABEL_WEIGHT = f"{LABEL}.weight"
LABEL_BALANCE = f"{LABEL}.balance"
LABEL_DRAIN = f"{LABEL}.drain"
OPTION = "corten.services"
_MODES = ("vip", "dnsrr")
_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?\Z")
_DURATION = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?(?:ms|s|m|h))+\Z")
_PART = re.compile(r"([0-9.]+)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_DRAIN_S = 3600.0


class ServiceLabels(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A container's part in services. `name` "": in none but those that its networks make of aliases. `balance` "":
    whatever the others say. `weight` 0: none is given, which counts as 1."""

    name: str = ""
    weight: int = 0
    balance: str = ""
    drain_s: float = 0.0


NO_LABELS = ServiceLabels()


def parse_labels(labels: Mapping[str, str]) -> ServiceLabels:
    """A container's labels. Raises InvalidArgument."""
    if not any(label.startswith(LABEL) for label in labels):
        return NO_LABELS
    name = labels.get(LABEL, "").lower()
    if LABEL in labels and not _NAME.match(name):
        raise InvalidArgument(f"invalid label {LABEL}={name[:64]!r}: a service needs a name that DNS can carry")
    weight = labels.get(LABEL_WEIGHT, "")
    if weight and not (weight.isascii() and weight.isdigit() and 1 <= int(weight[:9]) <= MAX_WEIGHT):
        raise InvalidArgument(f"invalid label {LABEL_WEIGHT}={weight[:64]!r}: want a number from 1 to {MAX_WEIGHT}")
    balance = labels.get(LABEL_BALANCE, "")
    if balance and balance not in set(Balance):
        raise InvalidArgument(f"invalid label {LABEL_BALANCE}={balance[:64]!r}: use one of {', '.join(Balance)}")
    return ServiceLabels(
        name=name, weight=int(weight or 0), balance=balance, drain_s=_seconds(labels.get(LABEL_DRAIN, ""))
    )


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    found = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if not _DURATION.match(text) or found > MAX_DRAIN_S:
        raise InvalidArgument(f"invalid label {LABEL_DRAIN}={text[:64]!r}: want a time up to 1h, 10s or 1m30s say")
    return found


def check_option(options: Mapping[str, str]) -> None:
    """A network's option `corten.services`. Raises InvalidArgument."""
    if OPTION in options and options[OPTION] not in _MODES:
        raise InvalidArgument(f"invalid value for {OPTION}: {options[OPTION][:64]!r}: use one of {', '.join(_MODES)}")


def service_key(network_id: str, name: str) -> str:
    """A service's key: its name within its network."""
    return f"{network_id}/{name}"


def names_of_services(
    labels: ServiceLabels, network: NetworkConfig, endpoint: Endpoint, *, own: Iterable[str]
) -> list[str]:
    """The services that a container is a member of by a place of its: by its label, and by its aliases in a network
    whose aliases are services. `own` are its own names: what only it is called is no service."""
    found = [labels.name] if labels.name else []
    if network.options.get(OPTION) == "vip":
        found += [alias for alias in map(str.lower, endpoint.aliases) if alias not in set(own) and _NAME.match(alias)]
    return list(dict.fromkeys(found))
