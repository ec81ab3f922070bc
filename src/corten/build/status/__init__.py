"""A running build as BuildKit's clients see it: steps, their output, warnings. No transport is known here. Daemon."""
