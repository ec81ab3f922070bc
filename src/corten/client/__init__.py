"""A synchronous client of the Docker Engine API over a unix socket or TCP. Standard library only, few imports."""
