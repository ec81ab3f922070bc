"""Flags and daemon.json as dockerd reads them."""

import json
from pathlib import Path

import pytest

from corten.daemon.config import load, merge, parse_flags, validate
from corten.daemon.options import OPTIONS, ConfigError
from corten.daemon.reload import reload
from corten.daemon.settings import (
    network_settings,
    registry_config,
    registry_timings,
    ulimits,
    without_password,
)
from corten.daemon.sizes import size_bytes
from corten.network.ports import PublishPolicy


def config_of(directory, content, *flags):
    file = directory / "daemon.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return load(parse_flags(["--config-file", str(file), *flags])[0])


def test_defaults(tmp_path):
    config = load(parse_flags([])[0])
    assert config.data_root == Path("/var/lib/corten")
    assert config.hosts == ["unix:///run/corten/corten.sock"]
    assert config.pidfile == Path("/run/corten/corten.pid")
    assert config.instance == ""
    assert config.cgroup_parent == "/corten"
    assert config.flag("icc")
    assert not config.flag("debug")


def test_another_exec_root_gives_other_names_outside_the_roots():
    config = load(parse_flags(["--exec-root", "/tmp/x/run"])[0])
    assert config.hosts == ["unix:///tmp/x/run/corten.sock"]
    assert len(config.instance) == 7
    assert config.cgroup_parent == f"/corten{config.instance}"


def test_flags_of_all_kinds(tmp_path):
    flags, asked = parse_flags(
        ["-H", "unix:///a", "-H", "tcp://127.0.0.1:1", "-D", "--icc=false", "--mtu", "1400", "--label=a=b", "--log-opt",
         "max-size=1m", "--default-ulimit", "nofile=10:20", "--default-address-pool", "base=10.0.0.0/8,size=24", "stop"]
    )  # fmt: skip
    assert asked["command"] == "stop"
    assert flags["hosts"] == ["unix:///a", "tcp://127.0.0.1:1"]
    assert flags["debug"] is True
    assert flags["icc"] is False
    assert flags["mtu"] == 1400
    assert flags["log-opts"] == {"max-size": "1m"}
    config = load(flags | {"config-file": _empty(tmp_path)})
    assert [(u.name, u.soft, u.hard) for u in ulimits(config)] == [("nofile", 10, 20)]
    assert [str(p.base) for p in network_settings(config, "x").address_pools] == ["10.0.0.0/8"]


def _empty(tmp_path):
    (tmp_path / "empty.json").write_text("")
    return str(tmp_path / "empty.json")


@pytest.mark.parametrize(
    "argv", [["--nonsense"], ["--mtu", "x"], ["--icc=maybe"], ["--log-opt", "novalue"], ["bogus"], ["--data-roo", "/x"]]
)
def test_wrong_flags_are_refused(argv):
    with pytest.raises(ConfigError):
        parse_flags(argv)


def test_the_file_sets_options(tmp_path):
    config = config_of(tmp_path, {"debug": True, "registry-mirrors": ["http://127.0.0.1:5000"], "mtu": 1300})
    assert config.log_level == "debug"
    assert registry_config(config).mirrors == ("http://127.0.0.1:5000",)
    assert config.number("mtu") == 1300


def test_what_registries_are_spoken_to_with_comes_from_the_file(tmp_path):
    proxies = {
        "http-proxy": "http://u:p@proxy.example:3128",
        "https-proxy": "http://tls.example",
        "no-proxy": "10.0.0.0/8",
    }
    config = config_of(
        tmp_path, {"proxies": proxies, "insecure-registries": ["10.0.0.0/8"], "max-download-attempts": 2}
    )
    made = registry_config(config)
    assert (made.http_proxy, made.https_proxy, made.no_proxy) == tuple(proxies.values())
    assert made.insecure == ("10.0.0.0/8",)
    assert registry_timings(config).attempts == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://u:p@proxy:3128/", "http://xxxxx:xxxxx@proxy:3128/"),
        ("u:p@ss@proxy", "xxxxx:xxxxx@proxy"),
        ("http://proxy/a@b", "http://proxy/a@b"),
    ],
)
def test_the_password_of_a_proxy_is_not_shown(url, shown):
    assert without_password(url) == shown


def test_what_flag_and_file_both_give_is_an_error_in_dockerds_words(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, {"debug": True, "hosts": ["unix:///b"]}, "-H", "unix:///a", "--debug=false")
    assert caught.value.message == (
        f"unable to configure the Docker daemon with file {tmp_path}/daemon.json: the following directives are "
        "specified both as a flag and in the configuration file: debug: (from flag: false, from file: true), "
        "hosts: (from flag: [unix:///a], from file: [unix:///b])"
    )


def test_unknown_keys_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match="the following directives don't match any configuration option: bogus, x"):
        config_of(tmp_path, {"x": 1, "bogus": 2})


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"debug": "yes"}', '{"mtu": true}', '{"mtu": 1.5}', '{"hosts": "unix:///a"}', '{"hosts": [1]}',
     '{"mtu": NaN}', '{"log-opts": {"a": 1}}', '{"debug": null}', "[" * 100_000, '{"config-file": "/x"}'],
)  # fmt: skip
def test_files_of_another_form_are_refused(tmp_path, content):
    with pytest.raises(ConfigError, match="unable to configure the Docker daemon with file"):
        config_of(tmp_path, content)


def test_a_file_named_by_a_flag_must_exist_and_the_default_one_need_not(tmp_path):
    with pytest.raises(ConfigError, match="no such file or directory"):
        config_of(tmp_path, None)
    assert merge({}, {}, tmp_path / "none").values["debug"] is False


@pytest.mark.parametrize(
    "values",
    [
        {"log-level": "loud"},
        {"log-format": "xml"},
        {"storage-driver": "btrfs"},
        {"authorization-plugins": ["x"]},
        {"userns-remap": "default"},
        {"data-root": "relative"},
        {"mtu": -1},
        {"publish.policy": "everyone"},
        {"max-concurrent-downloads": 0},
        {"labels": ["nolabel"]},
        {"bip": "nonsense"},
        {"fixed-cidr": "10.0.0.1/8"},
        {"dns": ["name.example"]},
        {"registry-mirrors": ["127.0.0.1:5000"]},
        {"registry-mirrors": ["http://user:pw@mirror"]},
        {"registry-mirrors": ["http://mirror/path"]},
    ],
)
def test_values_that_can_never_work_are_refused(tmp_path, values):
    with pytest.raises(ConfigError):
        validate(merge({}, values, tmp_path / "daemon.json"))


def test_who_may_reach_published_ports_is_a_flag_and_a_key(tmp_path):
    for config in (
        merge({}, {"publish.policy": "loopback"}, tmp_path / "daemon.json"),
        merge(parse_flags(["--publish-policy", "loopback"])[0], {}, tmp_path / "daemon.json"),
    ):
        validate(config)
        assert network_settings(config, "id").publish_policy is PublishPolicy.LOOPBACK


def test_proxies_come_from_their_object_unless_a_flag_gives_them(tmp_path):
    content = {"proxies": {"http-proxy": "http://a", "no-proxy": "b"}}
    config = config_of(tmp_path, content, "--no-proxy", "c")
    assert (config.text("http-proxy"), config.text("no-proxy")) == ("http://a", "c")


def test_every_option_has_a_default_of_its_kind():
    kinds = {"bool": bool, "int": int, "text": str, "list": list, "map": dict, "json": (dict, list)}
    for option in OPTIONS.values():
        assert isinstance(option.default, kinds[option.kind]), option.name


def test_reload_takes_over_reloadable_options_only(tmp_path):
    config = config_of(tmp_path, {"mtu": 1400})
    applied = []
    (tmp_path / "daemon.json").write_text('{"mtu": 1300, "debug": true, "labels": ["a=b"]}')
    attributes = reload(config, applied.append)
    assert applied == [config]
    assert config.flag("debug")
    assert config.items("labels") == ["a=b"]
    assert config.number("mtu") == 1400
    assert attributes["debug"] == "true"
    assert attributes["labels"] == '["a=b"]'


def test_an_unusable_file_changes_nothing_at_reload(tmp_path):
    config = config_of(tmp_path, {"labels": ["a=b"]})
    (tmp_path / "daemon.json").write_text("{")
    applied = []
    assert reload(config, applied.append) is None
    assert applied == []
    assert config.items("labels") == ["a=b"]


@pytest.mark.parametrize(
    ("text", "size"), [("64MiB", 64 << 20), ("64m", 64 << 20), ("1g", 1 << 30), ("5", 5), ("5kb", 5120)]
)
def test_sizes(text, size):
    assert size_bytes(text) == size


def test_a_wrong_size_is_refused():
    with pytest.raises(ConfigError):
        size_bytes("64 parsecs")
