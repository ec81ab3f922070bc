"""Git repositories as sources of files: their URLs, their protocol, their packs. Daemon; no git program."""
