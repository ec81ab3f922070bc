"""Builds that there were: what is recorded of them, kept, and told to BuildKit's clients."""
