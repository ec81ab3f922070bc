"""Where copies take files from, and what they look at: file systems as trees that are only read. Daemon; blocking."""
