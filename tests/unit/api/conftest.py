import tempfile
from pathlib import Path

import pytest
from tests.unit.api.harness import serving


@pytest.fixture
def directory():
    """A short path: unix sockets have 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="ct") as name:
        yield Path(name)


@pytest.fixture
async def web(directory):
    async with serving(directory) as harness:
        yield harness
