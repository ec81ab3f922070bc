"""The check of everything that is stored, and its repair."""
