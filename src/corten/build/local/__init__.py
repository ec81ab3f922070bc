"""Builds of clients on the same machine: an own connection, over which directories are passed and not their content."""
