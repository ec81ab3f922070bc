"""Corten: a container engine. `corten` is the command line, `corten daemon` the engine behind Docker's API."""

__version__ = "0.1.0"
