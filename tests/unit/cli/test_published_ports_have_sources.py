"""`-p ...,from=10.0.0.0/8`: Corten's own part of a published port."""

import pytest

from corten.cli.create.ports import published_ports
from corten.cli.errors import CliError

BINDING = {"HostIp": "", "HostPort": "8080"}


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("8080:80", None),
        ("8080:80,from=10.0.0.0/8", ["10.0.0.0/8"]),
        ("8080:80/tcp,from=10.0.0.0/8,from=2001:db8::/32", ["10.0.0.0/8", "2001:db8::/32"]),
        ("published=8080,target=80,from=192.0.2.1", ["192.0.2.1"]),
    ],
)
def test_sources_are_sent_beside_dockers_fields(text, sources):
    expected = {**BINDING, "From": sources} if sources else BINDING
    assert published_ports([text]) == ({"80/tcp": {}}, {"80/tcp": [expected]})


def test_a_range_of_ports_shares_its_list():
    _exposed, bindings = published_ports(["8080-8081:80-81,from=10.0.0.0/8"])
    assert [bindings[port][0]["From"] for port in ("80/tcp", "81/tcp")] == [["10.0.0.0/8"]] * 2


@pytest.mark.parametrize("text", ["8080:80,from=", "8080:80,from=localhost", "8080:80,form=10.0.0.0/8"])
def test_a_list_that_is_none_is_refused_before_anything_is_sent(text):
    with pytest.raises(CliError):
        published_ports([text])
