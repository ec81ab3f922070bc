"""`builder` of daemon.json, as dockerd reads it."""

import json

import pytest

from corten.daemon.builder_settings import UNLIMITED, cache_bytes, entitlements, source_policy, without_effect
from corten.daemon.config import load, parse_flags
from corten.daemon.options import ConfigError
from corten.registry.inward import InwardRefused

GIB = 1 << 30


@pytest.mark.parametrize(
    ("gc", "expected"),
    [
        ({}, None),
        ({"enabled": True}, None),
        ({"defaultKeepStorage": "20GB"}, 20 * GIB),
        ({"defaultKeepStorage": "1.5 TiB"}, 1536 * GIB),
        ({"defaultReservedSpace": "512m"}, GIB // 2),
        ({"defaultKeepStorage": "1GB", "defaultMaxUsedSpace": "2GB"}, 2 * GIB),
        ({"defaultKeepStorage": "0"}, None),
        ({"enabled": False, "defaultKeepStorage": "1GB"}, UNLIMITED),
    ],
)
def test_the_limit_is_what_the_keys_say(gc, expected):
    assert cache_bytes({"gc": gc}) == expected


def test_nothing_said_leaves_it_to_the_disk():
    assert cache_bytes({}) is None


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        ({"gc": []}, "must be an object"),
        ({"gc": {"enabled": "yes"}}, "true or false"),
        ({"gc": {"defaultKeepStorage": "much"}}, "must be a size"),
        ({"gc": {"defaultKeepStorage": 5}}, "must be a size"),
        ({"gc": {"enabled": False, "defaultKeepStorage": "-1"}}, "must be a size"),
        ({"gc": {"keepStorage": "1GB"}}, "unknown keys: gc.keepStorage"),
        ({"garbage": {}}, "unknown keys: garbage"),
        ({"entitlements": []}, "must be an object"),
        ({"entitlements": {"network-host": 1}}, "true or false"),
        ({"entitlements": {"all": True}}, "unknown keys: entitlements.all"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_file_is_read(tmp_path, builder, text):
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({"builder": builder}))
    with pytest.raises(ConfigError, match=text):
        load(parse_flags(["--config-file", str(file)])[0])


def test_keys_without_effect_are_told():
    builder = {"gc": {"policy": [], "defaultKeepStorage": "1GB"}, "entitlements": {}}
    assert without_effect(builder) == ["builder.gc.policy"]
    assert without_effect({}) == []


def test_entitlements_are_dockerds_where_nothing_is_said():
    assert entitlements({}) == entitlements({"entitlements": {"device": None}}) == {"network.host", "device"}
    given = {"network-host": False, "security-insecure": True, "device": False}
    assert entitlements({"entitlements": given}) == {"security.insecure"}


def test_what_builds_may_fetch_from_is_said_as_networks():
    policy = source_policy(
        {"sources": {"deny": ["10.0.0.0/8"], "allow": ["127.0.0.0/8", "10.1.0.0/16"]}}, frozenset({1})
    )
    for address in ("127.0.0.1", "10.1.2.3", "192.168.0.1"):
        policy.check(address, 80, is_own=False)
    for address in ("10.2.0.1", "169.254.169.254"):
        with pytest.raises(InwardRefused):
            policy.check(address, 80, is_own=False)
    assert policy.own_ports == {1}


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ([], "must be an object"),
        ({"forbid": []}, "must be an object"),
        ({"deny": "10.0.0.0/8"}, "builder.sources.deny must be a list"),
        ({"allow": [1]}, "builder.sources.allow must be a list"),
        ({"allow": ["localhost"]}, "'localhost' does not appear to be"),
        ({"deny": ["10.0.0.1/8"]}, "host bits"),
    ],
)
def test_what_is_no_network_is_refused_at_the_start(sources, reason):
    with pytest.raises(ConfigError, match=reason):
        source_policy({"sources": sources})
