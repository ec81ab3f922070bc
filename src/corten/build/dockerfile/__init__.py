"""The Dockerfile language, from bytes to typed instructions and stages. Pure: no I/O, nothing async, no kernel."""
