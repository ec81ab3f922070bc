"""Benchmarks: each script compares Corten with its peers in one run and prints medians and ratios."""
