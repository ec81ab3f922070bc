"""Builds: a Dockerfile becomes a graph of operations, which a solver runs and caches. Daemon.

The package has the name of the function `corten.build`, and hides it once it is loaded: so it can be called as it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)  # of `types`, which is not loaded for it: the command line is on this path


class _Package(ModuleType):
    """The package itself."""

    def __call__(self, *arguments: Any, **options: Any) -> object:
        import corten

        return corten.__getattr__("build")(*arguments, **options)  # type: ignore[operator]


sys.modules[__name__].__class__ = _Package
