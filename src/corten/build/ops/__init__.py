"""What vertices do: one file a kind of operation, joined by `worker.py`. Daemon."""
