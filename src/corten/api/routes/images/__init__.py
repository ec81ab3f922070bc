"""Routes about images."""
