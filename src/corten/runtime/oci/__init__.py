"""The runtime as an OCI command line: one process per command, no daemon. Verbs are files; see main.py."""
