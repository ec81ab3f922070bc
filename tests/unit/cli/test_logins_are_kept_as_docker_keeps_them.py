"""Credentials: config.json as Docker writes it, credsStore and credHelpers by programs that behave and others."""

import base64
import json

import pytest

from corten.cli.config_file import config_path
from corten.cli.credentials import erase_credentials, registry_auth, store_credentials, stored_credentials
from corten.cli.errors import CliError

HUB = "https://index.docker.io/v1/"
PAIR = {"username": "u", "password": "p:w"}
# A store as the protocol has it: one program, a verb, JSON or a server's name on stdin.
HELPER = """#!/usr/bin/env python3
import json, os, sys
path = os.path.join(os.path.dirname(__file__), "store.json")
known = json.load(open(path)) if os.path.exists(path) else {}
text = sys.stdin.read()
if sys.argv[1] == "store":
    entry = json.loads(text)
    known[entry["ServerURL"]] = entry
elif sys.argv[1] == "erase":
    known.pop(text.strip(), None)
elif text.strip() in known:
    print(json.dumps(known[text.strip()]))
else:
    print("credentials not found in native keychain")
    sys.exit(1)
json.dump(known, open(path, "w"))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def configure(**config):
    from corten.cli.config_file import write_config

    write_config(config)


def config():
    with open(config_path()) as file:
        return json.load(file)


def program(folder, name, text, mode=0o755):
    path = folder / f"docker-credential-{name}"
    path.write_text(text)
    path.chmod(mode)


def sent(registry):
    return json.loads(base64.urlsafe_b64decode(registry_auth(registry)))


def test_a_login_is_written_as_dockers_and_nothing_else_is_changed():
    configure(psFormat="table", auths={"other.example": {"auth": "eDp5"}})
    assert store_credentials("reg.example", PAIR) == ""
    assert config() == {
        "psFormat": "table",
        "auths": {"other.example": {"auth": "eDp5"}, "reg.example": {"auth": base64.b64encode(b"u:p:w").decode()}},
    }
    assert sent("reg.example") == {"serveraddress": "reg.example", **PAIR}
    erase_credentials("reg.example")
    assert set(config()["auths"]) == {"other.example"}
    assert sent("reg.example") == {}


def test_an_identity_token_is_sent_instead_of_the_password():
    store_credentials(HUB, {"username": "u", "identitytoken": "t"})
    assert sent("docker.io") == {"serveraddress": HUB, "username": "u", "identitytoken": "t"}


@pytest.mark.parametrize("key", ["reg.example", "https://reg.example", "https://reg.example/v1/", "http://reg.example"])
def test_the_keys_of_old_clients_are_found(key):
    configure(auths={key: {"username": "u", "password": "p"}})
    assert sent("reg.example") == {"serveraddress": "reg.example", "username": "u", "password": "p"}


@pytest.mark.parametrize("entry", [{"auth": "***"}, {"auth": "bm9jb2xvbg=="}, {"auth": 5}])
def test_credentials_that_cannot_be_decoded_are_told(entry):
    configure(auths={"reg.example": entry})
    with pytest.raises(CliError, match=r"credentials of reg\.example cannot be decoded"):
        registry_auth("reg.example")


@pytest.mark.parametrize("auths", [None, {}, {"reg.example": None}, {"reg.example": {}}])
def test_no_login_is_none(auths):
    configure(auths=auths)
    assert sent("reg.example") == {}


def test_auths_that_are_no_object_are_told():
    configure(auths=[1])
    with pytest.raises(CliError, match=r"auths in config\.json"):
        registry_auth("reg.example")


def test_a_symbolic_link_to_the_file_stays_one(folder):
    configure(auths={})
    target = folder / "elsewhere.json"
    (folder / "config" / "config.json").rename(target)
    (folder / "config" / "config.json").symlink_to(target)
    store_credentials("reg.example", PAIR)
    assert (folder / "config" / "config.json").is_symlink()
    assert "reg.example" in json.loads(target.read_text())["auths"]
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("settings", [{"credsStore": "fake"}, {"credHelpers": {"reg.example": "fake"}}])
def test_a_helper_keeps_the_secret_and_the_file_does_not(folder, settings):
    program(folder, "fake", HELPER)
    configure(**settings)
    assert stored_credentials("reg.example") == {}
    assert store_credentials("reg.example", PAIR) == "fake"
    assert config() == {**settings, "auths": {"reg.example": {}}}
    assert sent("reg.example") == {"serveraddress": "reg.example", **PAIR}
    store_credentials("reg.example", {"username": "u", "identitytoken": "t"})
    assert sent("reg.example") == {"serveraddress": "reg.example", "identitytoken": "t"}
    erase_credentials("reg.example")
    assert config()["auths"] == {}
    assert sent("reg.example") == {}


def test_a_helper_of_one_registry_is_not_asked_for_others(folder):
    program(folder, "fake", "#!/bin/sh\nexit 1\n")
    configure(credHelpers={"reg.example": "fake"}, auths={"other.example": {"auth": "eDp5"}})
    assert sent("other.example")["username"] == "x"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo '<html>'", "gave no credentials that can be read"),
        ("echo '[1]'", "gave no credentials that can be read"),
        ("echo 5", "gave no credentials that can be read"),
        ("echo null", "gave no credentials that can be read"),
        ("", "gave no credentials that can be read"),
        ("""echo '{"Username": 1, "Secret": "s3cret"}'""", "gave no credentials that can be read"),
        ("""printf '{"Username": "u", "Secret": "s3cret'""", "gave no credentials that can be read"),
        ("printf 'locked\\033[2J'; exit 3", r"error getting credentials - err: exit status 3, out: `locked \[2J`"),
        ("kill -9 $$", "exit status -9"),
    ],
)
def test_a_helper_that_fails_is_told_and_its_secrets_are_not(folder, script, says):
    program(folder, "fake", f"#!/bin/sh\n{script}\n")
    configure(credsStore="fake")
    with pytest.raises(CliError, match=says) as caught:
        registry_auth("reg.example")
    assert "s3cret" not in caught.value.message


def test_a_helper_that_is_not_there_is_told_in_dockers_words():
    configure(credsStore="absent")
    text = r'^error getting credentials - err: exec: "docker-credential-absent": executable file not found in \$PATH, out: ``$'
    with pytest.raises(CliError, match=text):
        registry_auth("reg.example")


def test_a_helper_that_cannot_be_run_is_told(folder):
    program(folder, "fake", "#!/no/such/interpreter\n", mode=0o644)
    configure(credsStore="fake")
    with pytest.raises(CliError, match="permission denied"):
        registry_auth("reg.example")


def test_a_helper_is_a_name_and_no_path():
    configure(credsStore="x/../../tmp/evil")
    with pytest.raises(CliError, match="invalid name of a credential helper"):
        registry_auth("reg.example")


def test_a_helper_that_does_not_forget_is_told_and_the_file_does(folder):
    program(folder, "fake", "#!/bin/sh\necho no; exit 1\n")
    configure(credsStore="fake", auths={"reg.example": {}})
    with pytest.raises(CliError, match="error erasing credentials"):
        erase_credentials("reg.example")
    assert config()["auths"] == {}
