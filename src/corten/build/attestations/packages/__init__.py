"""Databases of installed packages, read as text: one pure parser a format."""
