"""COPY, ADD and WORKDIR: which files go where, by Docker's rules, and the layer that results. Daemon; blocking."""
