"""What the engine asks of a buildx client through its session: files, secrets, agents, credentials."""
