import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

# Tests are imported without packages: the stand-ins are loaded by path, once, under one name.
_SPEC = importlib.util.spec_from_file_location("container_engine", Path(__file__).parent / "engine.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault("container_engine", _MODULE)
_SPEC.loader.exec_module(_MODULE)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[object]:
    one = _MODULE.FakeEngine(tmp_path)
    yield one
    await one.parts.close()
