"""Corten: a container engine. `corten` is the command line, `corten daemon` the engine behind Docker's API.

In Python: `corten.build(...)` builds an image (docs/build.md). Nothing is loaded before it is used.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.build.api import BuildResult as BuildResult
    from corten.cli.build.api import build as build
    from corten.cli.build.told import BuildError as BuildError

_PUBLIC = {"build": "api", "BuildResult": "api", "BuildError": "told"}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'corten' has no attribute {name!r}")
    module = __import__(f"corten.cli.build.{_PUBLIC[name]}", fromlist=("x",))
    return getattr(module, name)
