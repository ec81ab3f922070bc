"""The options of gateway modes: what is accepted, and what could never work."""

import pytest

from corten.errors import InvalidArgument
from corten.network.config import GatewayMode, NetworkConfig, bridge_options

OPTION = "com.docker.network.bridge.gateway_mode_ipv"


def network(**values):
    return NetworkConfig(id="a" * 64, name="net", driver="bridge", created="", **values)


def test_both_families_have_a_mode_of_their_own_and_nat_is_the_default():
    options = bridge_options(network(options={f"{OPTION}6": "routed", f"{OPTION}4": ""}))
    assert (options.gateway_mode(4), options.gateway_mode(6)) == (GatewayMode.NAT, GatewayMode.ROUTED)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("mode", "internal", "text"),
    [
        ("open", False, "use one of nat, nat-unprotected, routed, isolated"),
        ("isolated", False, "only be used for an internal network"),
        ("routed", True, "cannot be used for an internal network"),
        ("nat-unprotected", True, "cannot be used for an internal network"),
    ],
)
def test_a_mode_that_cannot_work_is_refused(version, mode, internal, text):
    with pytest.raises(InvalidArgument, match=text):
        bridge_options(network(internal=internal, options={f"{OPTION}{version}": mode}))
