"""The IPAM section of a create request: each fault has Docker's text, and all are told at once."""

import pytest

from corten.errors import InvalidArgument
from corten.network.ipam_config import check_ipam
from corten.spec.docker.network import IPAMConfig


def faults(*configs, ipv4=True, ipv6=True):
    try:
        check_ipam(configs, ipv4=ipv4, ipv6=ipv6)
    except InvalidArgument as error:
        first, *others = error.message.split("\n")
        assert first == "invalid network config:"
        return others
    return []


@pytest.mark.parametrize(
    "config",
    [
        IPAMConfig(),
        IPAMConfig(subnet="10.0.0.0/8"),
        IPAMConfig(subnet="fd00::/64", gateway="fd00::1"),
        IPAMConfig(subnet="FD00:0::/64"),
        IPAMConfig(subnet="10.0.0.0/24", ip_range="10.0.0.0/24", auxiliary_addresses={"a": "10.0.0.7"}),
        IPAMConfig(subnet="10.0.0.0/24", ip_range="10.0.0.128/25", gateway="10.0.0.254"),
    ],
)
def test_what_is_right_passes(config):
    assert faults(config) == []


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (IPAMConfig(subnet="10.0.0.0"), "invalid subnet 10.0.0.0: invalid CIDR block notation"),
        (IPAMConfig(gateway="10.0.0.1"), "invalid subnet : invalid CIDR block notation"),
        (IPAMConfig(subnet="10.0.0.1/24"), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
        (IPAMConfig(subnet="10.0.0.0/24", ip_range="x"), "invalid ip-range x: invalid CIDR block notation"),
        (
            IPAMConfig(subnet="10.0.0.0/24", ip_range="fd00::/64"),
            "invalid ip-range fd00::/64: parent subnet is an IPv4 block",
        ),
        (
            IPAMConfig(subnet="10.0.0.0/24", ip_range="10.0.0.1/25"),
            "invalid ip-range 10.0.0.1/25: it should be 10.0.0.0/25",
        ),
        (
            IPAMConfig(subnet="10.0.0.0/24", ip_range="10.0.1.0/25"),
            "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
        ),
        (
            IPAMConfig(subnet="10.0.0.0/24", ip_range="10.0.0.0/16"),
            "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
        ),
        (IPAMConfig(subnet="10.0.0.0/24", gateway="x"), "invalid gateway x: invalid address"),
        (IPAMConfig(subnet="fd00::/64", gateway="fd00::1%lo"), "invalid gateway fd00::1%lo: invalid address"),
        (IPAMConfig(subnet="fd00::%lo/64"), "invalid subnet fd00::%lo/64: invalid CIDR block notation"),
        (
            IPAMConfig(subnet="fd00::/64", auxiliary_addresses={"a": "fd00::2%lo"}),
            "invalid auxiliary address a: invalid address",
        ),
        (
            IPAMConfig(subnet="10.0.0.0/24", gateway="fd00::1"),
            "invalid gateway fd00::1: parent subnet is an IPv4 block",
        ),
        (
            IPAMConfig(subnet="10.0.0.0/24", auxiliary_addresses={"a": "10.0.1.1"}),
            "invalid auxiliary address a: parent subnet 10.0.0.0/24 doesn't contain this address",
        ),
    ],
)
def test_what_is_wrong_has_dockers_text(config, text):
    assert faults(config) == [text]


def test_all_faults_are_told_at_once():
    found = faults(
        IPAMConfig(subnet="10.0.0.1/24", gateway="x", auxiliary_addresses={"a": "y"}), IPAMConfig(subnet="fd00::1/64")
    )
    assert len(found) == 4


def test_a_family_that_is_off_is_left_alone():
    assert faults(IPAMConfig(subnet="fd00::1/64"), ipv6=False) == []
    assert faults(IPAMConfig(subnet="10.0.0.1/24"), ipv4=False) == []
