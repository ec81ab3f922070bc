"""The build cache in and out: what a registry or a directory holds of it. Daemon."""
