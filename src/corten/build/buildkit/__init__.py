"""BuildKit's API: what `docker build`, buildx and compose speak to the daemon."""
