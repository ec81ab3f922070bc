"""Builds: a Dockerfile becomes a graph of operations, which a solver runs and caches. Daemon."""
